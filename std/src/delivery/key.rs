//! Keys: which events must stay in order with each other.

use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::DefaultHashBuilder;

/// One for the process, so that a key goes to the same worker whoever emits.
static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

/// How many keys were made up.
static MADE_UP: AtomicU64 = AtomicU64::new(0);

/// A key that spreads over the workers of a lane, for what has none and must keep to one of them.
pub(crate) fn any() -> u64 {
    // Relaxed: any number will do.
    MADE_UP.fetch_add(1, Ordering::Relaxed).max(1)
}

/// The hash by which a key's events find their worker; never 0, which stands for no key.
#[inline]
pub(crate) fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    HASHER.hash_one(key).max(1)
}
