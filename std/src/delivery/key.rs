//! Keys: which events must stay in order with each other.

use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use hashbrown::DefaultHashBuilder;

/// One for the process, so that a key goes to the same worker whoever emits.
static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

/// The hash by which a key's events find their worker; never 0, which stands for no key.
#[inline]
pub(crate) fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    HASHER.hash_one(key).max(1)
}
