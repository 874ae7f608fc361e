//! The lanes of a bus: for each, one ring for each of its workers.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use nervebus_core::LaneId;

use crate::delivery::lane::Queue;

/// All rings of a bus, lane by lane, in the order of the lanes' numbers.
///
/// A lane with several workers has several rings, one each, and an event goes into the one that its key chooses. So
/// events with the same key stay in order, and no worker waits for another; what the price is, an idle worker that takes
/// no work off a busy one, is the price of that order.
pub(crate) struct Lanes {
    queues: Box<[Arc<Queue>]>,
    /// Where the rings of each lane are.
    places: Box<[Place]>,
}

#[derive(Clone, Copy)]
struct Place {
    first: u32,
    workers: u32,
}

impl Lanes {
    pub(crate) fn new(lanes: Vec<Vec<Arc<Queue>>>) -> Self {
        let mut first = 0;
        let place = |lane: &Vec<Arc<Queue>>| {
            // There are at most 256 lanes of 64 workers.
            let workers = u32::try_from(lane.len()).unwrap_or(u32::MAX);
            let place = Place { first, workers };
            first += workers;
            place
        };
        let places = lanes.iter().map(place).collect();
        Self { queues: lanes.into_iter().flatten().collect(), places }
    }

    fn place(&self, lane: LaneId) -> Option<Place> {
        self.places.get(usize::from(lane.get()).checked_sub(1)?).copied()
    }

    /// The ring of a lane that takes an event of this key, or of this number if it has no key; `None` for the inline lane.
    #[inline]
    pub(crate) fn pick(&self, lane: LaneId, key: u64) -> Option<&Arc<Queue>> {
        let Place { first, workers } = self.place(lane)?;
        let which = if workers == 1 { 0 } else { (key % u64::from(workers)) as u32 };
        self.queues.get((first + which) as usize)
    }

    /// The rings of a lane; none for the inline lane.
    pub(crate) fn of(&self, lane: LaneId) -> &[Arc<Queue>] {
        self.place(lane).map_or(&[], |place| self.at(place))
    }

    /// The rings of each lane.
    pub(crate) fn by_lane(&self) -> impl Iterator<Item = &[Arc<Queue>]> {
        self.places.iter().map(|place| self.at(*place))
    }

    fn at(&self, Place { first, workers }: Place) -> &[Arc<Queue>] {
        self.queues.get(first as usize..(first + workers) as usize).unwrap_or_default()
    }
}

/// All rings, whatever their lane.
impl Deref for Lanes {
    type Target = [Arc<Queue>];

    fn deref(&self) -> &[Arc<Queue>] {
        &self.queues
    }
}

impl<'a> IntoIterator for &'a Lanes {
    type Item = &'a Arc<Queue>;
    type IntoIter = std::slice::Iter<'a, Arc<Queue>>;

    fn into_iter(self) -> Self::IntoIter {
        self.queues.iter()
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.queues.iter().map(|queue| &queue.name)).finish()
    }
}
