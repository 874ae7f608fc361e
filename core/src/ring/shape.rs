//! The arithmetic of positions and stamps.

/// The bit of a stamp that says that the slot holds a value.
pub(super) const FULL: usize = 1;

/// The bit of a stamp that says that the slot was claimed for a value that never came; consumers step over it.
pub(super) const HOLE: usize = 2;

const FLAGS: usize = FULL | HOLE;

/// The arithmetic of positions for one capacity.
///
/// A position is `lap | mark | index`: the index of a slot in the low bits, one bit that marks the whole word (closed, in
/// the tail; held, in the head), and the number of the lap above.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub(crate) capacity: usize,
    /// The bit above the index. At least 4, so that it is none of a stamp's flags.
    pub(crate) mark: usize,
}

impl Shape {
    pub(crate) const fn of(capacity: usize) -> Self {
        let room = capacity.next_power_of_two();
        Self { capacity, mark: if room < 4 { 4 } else { room } }
    }

    /// What one lap adds to a position.
    #[inline(always)]
    pub(crate) const fn one_lap(self) -> usize {
        self.mark << 1
    }

    #[inline(always)]
    pub(crate) const fn index(self, position: usize) -> usize {
        position & (self.mark - 1)
    }

    /// The stamp of a slot that waits for the value of this position. A marked position gives a stamp that no slot has.
    #[inline(always)]
    pub(crate) const fn stamp(self, position: usize) -> usize {
        position & !(self.mark - 1)
    }

    /// Whether a slot with this stamp belongs to the lap before the one of `position`: it is taken, or being emptied.
    #[inline(always)]
    pub(crate) const fn is_a_lap_behind(self, stamp: usize, position: usize) -> bool {
        stamp & !FLAGS == self.stamp(position).wrapping_sub(self.one_lap())
    }

    /// The position without its mark.
    #[inline(always)]
    pub(crate) const fn unmarked(self, position: usize) -> usize {
        position & !self.mark
    }

    #[inline(always)]
    pub(crate) const fn is_marked(self, position: usize) -> bool {
        position & self.mark != 0
    }

    /// The position after `position`, which must not be marked.
    #[inline(always)]
    pub(crate) const fn next(self, position: usize) -> usize {
        self.advanced(position, 1)
    }

    /// The position `slots` further, at most the capacity, from `position`, which must not be marked.
    #[inline(always)]
    pub(crate) const fn advanced(self, position: usize, slots: usize) -> usize {
        let index = self.index(position) + slots;
        if index < self.capacity {
            position + slots
        } else {
            self.stamp(position).wrapping_add(self.one_lap()) + (index - self.capacity)
        }
    }

    /// How many positions come before this one, which must not be marked.
    pub(crate) const fn count(self, position: usize) -> usize {
        (self.stamp(position) / self.one_lap()).wrapping_mul(self.capacity).wrapping_add(self.index(position))
    }

    /// How many pushes lie between two positions that are not marked, at most the capacity. The two may have been read at
    /// different moments: a tail that is older than the head counts as 0, a head that is laps older as the capacity.
    pub(crate) const fn distance(self, head: usize, tail: usize) -> usize {
        let ahead = self.stamp(tail).wrapping_sub(self.stamp(head));
        if ahead.cast_signed() < 0 {
            return 0;
        }
        let (from, to) = (self.index(head), self.index(tail));
        let distance = match ahead / self.one_lap() {
            0 => to.saturating_sub(from),
            1 => self.capacity - from + to,
            _ => self.capacity,
        };
        if distance < self.capacity { distance } else { self.capacity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last lap before the number of the lap wraps to zero.
    fn last_lap(shape: Shape) -> usize {
        shape.one_lap().wrapping_neg()
    }

    #[test]
    fn positions_go_through_every_slot_in_turn_and_wrap_to_zero() {
        for capacity in [1, 2, 3, 4, 5, 7, 8, 1_000] {
            let shape = Shape::of(capacity);
            let mut position = last_lap(shape);
            for index in 0..capacity {
                assert_eq!((shape.index(position), shape.stamp(position)), (index, last_lap(shape)));
                position = shape.next(position);
            }
            assert_eq!(position, 0, "capacity {capacity}");
        }
    }

    #[test]
    fn several_steps_are_as_many_single_ones() {
        for capacity in [1, 2, 3, 6, 16] {
            let shape = Shape::of(capacity);
            for start in [0, shape.one_lap() * 5, last_lap(shape)] {
                for from in 0..capacity {
                    let mut single = start + from;
                    for slots in 0..=capacity {
                        assert_eq!(shape.advanced(start + from, slots), single);
                        assert_eq!(shape.distance(start + from, single), slots, "across the wrap as well");
                        single = shape.next(single);
                    }
                }
            }
        }
    }

    #[test]
    fn a_tail_that_is_older_than_the_head_is_no_distance() {
        for capacity in [1, 3, 8] {
            let shape = Shape::of(capacity);
            for tail in [0, shape.one_lap() * 7, last_lap(shape)] {
                let last = tail + capacity - 1;
                let head = shape.next(last);
                assert_eq!((shape.distance(head, last), shape.distance(last, head)), (0, 1), "capacity {capacity}");
            }
        }
    }

    #[test]
    fn a_marked_position_has_a_stamp_that_no_slot_has() {
        for capacity in [1, 2, 4, 100] {
            let shape = Shape::of(capacity);
            assert_eq!(shape.mark & FLAGS, 0);
            let position = shape.one_lap() * 3;
            assert_ne!(shape.stamp(position | shape.mark) & !FLAGS, shape.stamp(position));
            assert_eq!(shape.unmarked(position | shape.mark), position);
        }
    }
}
