//! The topics of a bus, by number.

use core::fmt;

use crate::topic::{Quoted, Topic, TopicError};

/// The largest number of topics of a bus, so that a set of them is one bit each of a 64-bit number.
///
/// ```
/// # use nervebus_core::bus::{Event, StaticBus};
/// # type Handler = fn(&Event<u8>) -> Result<(), ()>;
/// let names = std::array::from_fn(|number| &*format!("topic.{number}").leak());
/// assert!(StaticBus::<u8, Handler, 64, 1, 1, 1>::try_new(names).is_ok());
/// ```
///
/// ```compile_fail
/// # use nervebus_core::bus::{Event, StaticBus};
/// # type Handler = fn(&Event<u8>) -> Result<(), ()>;
/// // One more does not compile.
/// let names = std::array::from_fn(|number| &*format!("topic.{number}").leak());
/// assert!(StaticBus::<u8, Handler, 65, 1, 1, 1>::try_new(names).is_ok());
/// ```
pub const MAX_TOPICS: usize = 64;

/// Which topic of a bus; the number of its name among those that the bus was made with, so that emitting looks up
/// nothing.
///
/// # Examples
///
/// ```
/// use nervebus_core::bus::TopicId;
///
/// const TOPICS: [&str; 2] = ["door.opened", "door.closed"];
/// const CLOSED: TopicId = TopicId::of(&TOPICS, "door.closed").unwrap();
///
/// assert_eq!(CLOSED.index(), 1);
/// assert_eq!(TopicId::of(&TOPICS, "door.locked"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u8);

impl TopicId {
    /// The topic called `name` of a bus with these topics; `None` if it has none, or only behind [`MAX_TOPICS`] others.
    ///
    /// # Cost
    ///
    /// Compares with each name; nothing at run time when it initialises a constant.
    #[must_use]
    pub const fn of(topics: &[&str], name: &str) -> Option<Self> {
        let mut index = 0;
        while index < topics.len() && index < MAX_TOPICS {
            if equal(topics[index], name) {
                return Some(Self(index as u8));
            }
            index += 1;
        }
        None
    }

    /// The number of the topic, counted from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The set that has this topic alone.
    #[inline]
    pub(super) const fn bit(self) -> u64 {
        // Smaller than 64, says `of`.
        1 << self.0
    }
}

/// `==`, which is not a `const fn` for strings.
const fn equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Checks that every name is a topic, and that none stands twice.
pub(super) const fn check<const N: usize>(topics: &[&'static str; N]) -> Result<(), TopicsError> {
    let mut index = 0;
    while index < N {
        if let Err(error) = Topic::new(topics[index]) {
            return Err(TopicsError::Name { index, error });
        }
        let mut before = 0;
        while before < index {
            if equal(topics[before], topics[index]) {
                return Err(TopicsError::Twice { index, name: topics[index] });
            }
            before += 1;
        }
        index += 1;
    }
    Ok(())
}

/// Names that a bus cannot have as its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicsError {
    /// One is not the name of a topic.
    Name {
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: TopicError<'static>,
    },
    /// One stands before itself already.
    Twice {
        /// Which one, counted from 0.
        index: usize,
        /// The name.
        name: &'static str,
    },
}

impl fmt::Display for TopicsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { index, error } => write!(f, "name {} of the bus: {error}", index + 1),
            Self::Twice { index, name } => {
                write!(f, "name {} of the bus: topic {} stands before already", index + 1, Quoted(name))
            }
        }
    }
}

impl core::error::Error for TopicsError {}
