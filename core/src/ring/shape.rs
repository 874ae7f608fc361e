//! The arithmetic of positions: `lap | closed | index`.

/// The arithmetic of positions for one capacity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) capacity: usize,
    /// The bit above the index; set in the tail when the ring is closed.
    pub(super) closed: usize,
}

impl Shape {
    pub(super) const fn of(capacity: usize) -> Self {
        Self { capacity, closed: capacity.next_power_of_two() }
    }

    /// What one lap adds to a position.
    #[inline(always)]
    pub(super) const fn one_lap(self) -> usize {
        self.closed << 1
    }

    #[inline(always)]
    pub(super) const fn index(self, position: usize) -> usize {
        position & (self.closed - 1)
    }

    #[inline(always)]
    pub(super) const fn lap(self, position: usize) -> usize {
        position & !(self.one_lap() - 1)
    }

    /// The position after `position`, which must not carry the closed bit.
    #[inline(always)]
    pub(super) const fn next(self, position: usize) -> usize {
        if self.index(position) + 1 < self.capacity {
            position + 1
        } else {
            self.lap(position).wrapping_add(self.one_lap())
        }
    }

    /// How many positions come before this one.
    pub(super) const fn count(self, position: usize) -> usize {
        (self.lap(position) / self.one_lap()).wrapping_mul(self.capacity).wrapping_add(self.index(position))
    }

    /// How many pushes lie between two positions, at most the capacity.
    pub(super) const fn distance(self, head: usize, tail: usize) -> usize {
        let laps = self.lap(tail).wrapping_sub(self.lap(head)) / self.one_lap();
        let (from, to) = (self.index(head), self.index(tail));
        let distance = match laps {
            0 => to.saturating_sub(from),
            1 => self.capacity - from + to,
            // The two positions were read at different moments, and the ring went round in between.
            _ => self.capacity,
        };
        if distance < self.capacity { distance } else { self.capacity }
    }
}
