//! Topic names: what an event is called.

use core::fmt;

/// The name of an event, checked: segments separated by dots, as in `order.placed`.
///
/// A name has 1 to [`Topic::MAX_LEN`] bytes, no empty segment, no whitespace, no control character and no `*`, which
/// belongs to [patterns](crate::Pattern). Any other Unicode character is allowed, and case matters.
/// [`Topic::strict`] asks for more.
///
/// # Cost
///
/// A borrowed string: `Copy`, nothing is allocated. Checking a name reads it once; it is a `const fn`, so that names
/// known at compile time can be checked there.
///
/// # Examples
///
/// ```
/// use nervebus_core::Topic;
/// use nervebus_core::topic::TopicRule;
///
/// let topic = Topic::new("order.payment.failed")?;
/// assert_eq!(topic.domain(), "order");
/// assert_eq!(topic.action(), Some("payment.failed"));
/// assert!(topic.segments().eq(["order", "payment", "failed"]));
///
/// let refused = Topic::new("order..failed").unwrap_err();
/// assert_eq!(refused.rule(), TopicRule::EmptySegment { index: 1 });
/// assert_eq!(refused.to_string(), r#"topic "order..failed": segment 2 is empty"#);
/// # Ok::<(), nervebus_core::TopicError<'static>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks `name` by the lenient rule, which takes almost every name that can be told apart in a log.
    ///
    /// # Errors
    ///
    /// [`TopicError`] with the first rule that `name` breaks, read from the left: [`TopicRule::Empty`],
    /// [`TopicRule::TooLong`], [`TopicRule::EmptySegment`] or [`TopicRule::ForbiddenCharacter`].
    ///
    /// # Cost
    ///
    /// One pass over at most 255 bytes; no allocation.
    pub const fn new(name: &'a str) -> Result<Self, TopicError<'a>> {
        match scan(name, Stars::Forbidden) {
            Ok(_) => Ok(Self(name)),
            Err(Fault::Name(rule)) => Err(TopicError { name, rule }),
            // The scan meets a forbidden star before it can call it a partial one.
            Err(Fault::PartialStar { at, .. }) => {
                Err(TopicError { name, rule: TopicRule::ForbiddenCharacter { at, character: '*' } })
            }
        }
    }

    /// Checks `name` by the strict rule: `domain.action[.sub]*`, where each segment is `[a-z][a-z0-9_]*`.
    ///
    /// Every strict name is also a lenient one.
    ///
    /// # Errors
    ///
    /// [`TopicError`] with the first rule that `name` breaks: those of [`Topic::new`] first, then
    /// [`TopicRule::SegmentStart`], [`TopicRule::NotLowercase`] or [`TopicRule::NoAction`].
    ///
    /// # Cost
    ///
    /// Two passes over at most 255 bytes; no allocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::Topic;
    ///
    /// const PLACED: bool = Topic::strict("order.placed").is_ok();
    /// assert!(PLACED);
    /// assert!(Topic::strict("Order.Placed").is_err());
    /// assert_eq!(
    ///     Topic::strict("order").unwrap_err().to_string(),
    ///     r#"topic "order": an action must follow the domain, as in "domain.action""#,
    /// );
    /// ```
    pub const fn strict(name: &'a str) -> Result<Self, TopicError<'a>> {
        let topic = match Self::new(name) {
            Ok(topic) => topic,
            Err(error) => return Err(error),
        };
        match broken_strict_rule(name.as_bytes()) {
            None => Ok(topic),
            Some(rule) => Err(TopicError { name, rule }),
        }
    }

    /// The whole name.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The parts between the dots, from left to right; at least one, and none is empty.
    pub fn segments(self) -> impl DoubleEndedIterator<Item = &'a str> + Clone + fmt::Debug {
        self.0.split('.')
    }

    /// The first segment: `order` in `order.payment.failed`.
    #[must_use]
    pub fn domain(self) -> &'a str {
        self.0.split_once('.').map_or(self.0, |(domain, _)| domain)
    }

    /// Everything after the first dot: `payment.failed` in `order.payment.failed`, `None` if there is no dot.
    #[must_use]
    pub fn action(self) -> Option<&'a str> {
        self.0.split_once('.').map(|(_, action)| action)
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl AsRef<str> for Topic<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl<'a> TryFrom<&'a str> for Topic<'a> {
    type Error = TopicError<'a>;

    /// [`Topic::new`].
    fn try_from(name: &'a str) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

/// A name that is not a topic: what was refused, and by which rule.
///
/// Its text names the topic, the position and the rule on one line. The name is shown in quotes, escaped and cut after
/// 64 characters, so that no name can forge a second log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicError<'a> {
    name: &'a str,
    rule: TopicRule,
}

impl<'a> TopicError<'a> {
    /// The name that was refused, as it was given.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The rule that it broke.
    #[must_use]
    pub const fn rule(&self) -> TopicRule {
        self.rule
    }
}

impl fmt::Display for TopicError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {}: {}", Quoted(self.name), self.rule)
    }
}

impl core::error::Error for TopicError<'_> {}

/// The rule that a refused name broke, and where.
///
/// An `index` counts segments from 0; an `at` counts bytes from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicRule {
    /// The name has no characters.
    Empty,
    /// The name is longer than allowed.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed length in bytes.
        max: usize,
    },
    /// Nothing stands before, between or after dots.
    EmptySegment {
        /// Which segment.
        index: usize,
    },
    /// Whitespace, a control character, or a `*`.
    ForbiddenCharacter {
        /// Where it is.
        at: usize,
        /// What it is.
        character: char,
    },
    /// Strict names only: a segment does not start with `a` to `z`.
    SegmentStart {
        /// Which segment.
        index: usize,
        /// Where it starts.
        at: usize,
        /// What it starts with.
        character: char,
    },
    /// Strict names only: a character other than `a` to `z`, `0` to `9` or `_`.
    NotLowercase {
        /// Where it is.
        at: usize,
        /// What it is.
        character: char,
    },
    /// Strict names only: there is a domain and nothing after it.
    NoAction,
}

impl fmt::Display for TopicRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("a name needs at least one character"),
            Self::TooLong { len, max } => write!(f, "{len} bytes are more than the {max} allowed"),
            Self::EmptySegment { index } => write!(f, "segment {} is empty", index + 1),
            Self::ForbiddenCharacter { at, character: '*' } => {
                write!(f, "'*' at byte {at} is for patterns only")
            }
            Self::ForbiddenCharacter { at, character } => {
                let kind = if is_control(character) { "a control character" } else { "whitespace" };
                write!(f, "{character:?} at byte {at} is {kind}, which is not allowed")
            }
            Self::SegmentStart { index, at, character } => {
                write!(f, "segment {} starts with {character:?} at byte {at}, but must start with a to z", index + 1)
            }
            Self::NotLowercase { at, character } => {
                write!(f, "{character:?} at byte {at} is none of a to z, 0 to 9 and '_'")
            }
            Self::NoAction => f.write_str(r#"an action must follow the domain, as in "domain.action""#),
        }
    }
}

/// Shows a name on one line and in bounded space: quoted, escaped, cut after 64 characters.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        match self.0.char_indices().nth(SHOWN) {
            None => write!(f, "{:?}", self.0),
            // The cut is a character boundary because `char_indices` gave it.
            Some((cut, _)) => write!(f, "{:?}...", &self.0[..cut]),
        }
    }
}

/// Whether a scan lets a segment be a `*`.
#[derive(Clone, Copy)]
pub(crate) enum Stars {
    Allowed,
    Forbidden,
}

/// What a scan found wrong.
pub(crate) enum Fault {
    Name(TopicRule),
    PartialStar { index: usize, at: usize },
}

/// Where the stars of a scanned name are.
pub(crate) struct Found {
    /// How many segments are a `*`.
    pub(crate) stars: usize,
    /// Whether the last segment is one.
    pub(crate) ends_in_star: bool,
}

/// Checks what topics and patterns have in common, in one pass.
pub(crate) const fn scan(name: &str, stars: Stars) -> Result<Found, Fault> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(Fault::Name(TopicRule::Empty));
    }
    if bytes.len() > Topic::MAX_LEN {
        return Err(Fault::Name(TopicRule::TooLong { len: bytes.len(), max: Topic::MAX_LEN }));
    }
    let mut found = Found { stars: 0, ends_in_star: false };
    let (mut index, mut start, mut at) = (0, 0, 0);
    loop {
        if at == bytes.len() || bytes[at] == b'.' {
            if at == start {
                return Err(Fault::Name(TopicRule::EmptySegment { index }));
            }
            if at == bytes.len() {
                return Ok(found);
            }
            at += 1;
            (index, start) = (index + 1, at);
            found.ends_in_star = false;
            continue;
        }
        let (character, width) = decode(bytes, at);
        match character {
            '*' if matches!(stars, Stars::Allowed) => {
                let whole = at == start && (at + 1 == bytes.len() || bytes[at + 1] == b'.');
                if !whole {
                    return Err(Fault::PartialStar { index, at });
                }
                found = Found { stars: found.stars + 1, ends_in_star: true };
            }
            '*' => return Err(Fault::Name(TopicRule::ForbiddenCharacter { at, character })),
            _ if is_control(character) || character.is_whitespace() => {
                return Err(Fault::Name(TopicRule::ForbiddenCharacter { at, character }));
            }
            _ => {}
        }
        at += width;
    }
}

/// The rule of [`Topic::strict`] that a lenient name breaks first.
const fn broken_strict_rule(bytes: &[u8]) -> Option<TopicRule> {
    let (mut index, mut start, mut at) = (0, 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'.' => (index, start) = (index + 1, at + 1),
            b'a'..=b'z' => {}
            b'0'..=b'9' | b'_' if at > start => {}
            _ => {
                let (character, _) = decode(bytes, at);
                return Some(if at == start {
                    TopicRule::SegmentStart { index, at, character }
                } else {
                    TopicRule::NotLowercase { at, character }
                });
            }
        }
        at += 1;
    }
    if index == 0 { Some(TopicRule::NoAction) } else { None }
}

/// Unicode's control characters (category Cc), spelled out because `char::is_control` is not a `const fn` yet.
const fn is_control(character: char) -> bool {
    matches!(character, '\0'..='\x1f' | '\x7f'..='\u{9f}')
}

/// The character that starts at `at`, and its width in bytes; `bytes` come from a `str` and `at` is a boundary.
const fn decode(bytes: &[u8], at: usize) -> (char, usize) {
    let lead = bytes[at] as u32;
    let (mut code, width) = match lead {
        0..=0x7f => (lead, 1),
        0x80..=0xdf => (lead & 0x1f, 2),
        0xe0..=0xef => (lead & 0x0f, 3),
        _ => (lead & 0x07, 4),
    };
    let mut next = 1;
    while next < width {
        code = (code << 6) | (bytes[at + next] as u32 & 0x3f);
        next += 1;
    }
    match char::from_u32(code) {
        Some(character) => (character, width),
        // Not reached for bytes of a `str`; a stand-in keeps this free of panics.
        None => (char::REPLACEMENT_CHARACTER, width),
    }
}
