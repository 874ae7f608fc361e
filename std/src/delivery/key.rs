//! Keys: which events must stay in order with each other.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

/// One for all buses, so that a key goes to the same worker whoever emits; and the same in every run, so that dead letters
/// of an earlier one still have their key. So keys can be made up that go to one worker, which a single key does anyway.
static HASHER: FixedState = FixedState::with_seed(0);

/// Tells the hash of a key from a number that was made up.
const NAMED: u64 = 1 << 63;

/// How many keys were made up.
static MADE_UP: AtomicU64 = AtomicU64::new(0);

/// A key that spreads over the workers of a lane, for what has none and must keep to one of them.
pub(crate) fn any() -> u64 {
    // Relaxed: any number will do.
    (MADE_UP.fetch_add(1, Ordering::Relaxed) & !NAMED).max(1)
}

/// The hash by which a key's events find their worker; never 0, which stands for no key.
#[inline]
pub(crate) fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    HASHER.hash_one(key) | NAMED
}

/// Whether this is the hash of a key that an emitter has given.
#[inline]
pub(crate) fn is_named(key: u64) -> bool {
    key & NAMED != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of dead letters hold these numbers: with others, letters of earlier runs hold up no new events.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_key_has_the_same_hash_in_every_run() {
        assert_eq!((hash("order-7"), hash(&7_u64)), (10_319_567_315_196_533_900, 11_203_896_282_492_569_032));
    }

    #[test]
    fn a_key_that_was_made_up_is_nobodys() {
        assert!(!is_named(any()) && !is_named(0) && is_named(hash("order-7")));
    }
}
