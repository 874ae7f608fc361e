//! Patterns: which topics a subscription asks for.

use core::fmt;

use crate::topic::{Fault, Quoted, Stars, Topic, TopicRule, scan};

/// A checked pattern over [topics](Topic).
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `order.placed` | `order.placed` | anything else |
/// | `chat.*` (a `*` at the end: one or more segments) | `chat.sent`, `chat.message.sent` | `chat`, `chatter.sent` |
/// | `*.error` (a `*` elsewhere: exactly one segment) | `disk.error` | `error`, `disk.read.error` |
/// | `order.*.failed` | `order.payment.failed` | `order.failed` |
/// | `*` | every topic | nothing |
///
/// Otherwise a pattern follows the rules of [`Topic::new`], so that every topic name is also a pattern, which matches
/// that topic alone. A `*` next to other characters in one segment (`cha*`) is refused.
///
/// # Cost
///
/// A borrowed string and one byte: `Copy`, nothing is allocated.
///
/// # Examples
///
/// ```
/// use nervebus_core::pattern::PatternKind;
/// use nervebus_core::{Pattern, Topic};
///
/// let pattern = Pattern::new("chat.*")?;
/// assert_eq!(pattern.kind(), PatternKind::Prefix);
/// assert!(pattern.matches(Topic::new("chat.message.sent")?));
/// assert!(!pattern.matches(Topic::new("chat")?));
///
/// assert_eq!(
///     Pattern::new("cha*").unwrap_err().to_string(),
///     r#"pattern "cha*": the '*' at byte 3 must be the whole of segment 1"#,
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern<'a> {
    text: &'a str,
    kind: PatternKind,
}

/// How a pattern is matched, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternKind {
    /// `*` alone: every topic.
    All,
    /// No `*`: one topic, so that a hash lookup can stand in for matching.
    Exact,
    /// The only `*` is the last of several segments: every topic below a prefix.
    Prefix,
    /// A `*` before the last segment.
    Wildcard,
}

impl<'a> Pattern<'a> {
    /// Checks `text` and sorts it by [kind](PatternKind).
    ///
    /// # Errors
    ///
    /// [`PatternError`] with the first rule that `text` breaks, read from the left.
    ///
    /// # Cost
    ///
    /// One pass over at most 255 bytes; no allocation.
    pub const fn new(text: &'a str) -> Result<Self, PatternError<'a>> {
        let rule = match scan(text, Stars::Allowed) {
            Ok(found) => {
                let kind = match found.stars {
                    0 => PatternKind::Exact,
                    1 if text.len() == 1 => PatternKind::All,
                    1 if found.ends_in_star => PatternKind::Prefix,
                    _ => PatternKind::Wildcard,
                };
                return Ok(Self { text, kind });
            }
            Err(Fault::Name(rule)) => PatternRule::Name(rule),
            Err(Fault::PartialStar { index, at }) => PatternRule::PartialStar { index, at },
        };
        Err(PatternError { text, rule })
    }

    /// The pattern that matches `topic` and nothing else.
    #[must_use]
    pub const fn exact(topic: Topic<'a>) -> Self {
        Self { text: topic.as_str(), kind: PatternKind::Exact }
    }

    /// The pattern as it was written.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// How the pattern is matched.
    #[must_use]
    pub const fn kind(self) -> PatternKind {
        self.kind
    }

    /// Whether an event of this `topic` is asked for.
    ///
    /// # Cost
    ///
    /// Wait-free. Compares at most as many bytes as the topic has, without going back; no allocation. `All` looks at
    /// nothing.
    #[must_use]
    pub fn matches(self, topic: Topic<'_>) -> bool {
        let (text, name) = (self.text.as_bytes(), topic.as_str().as_bytes());
        match self.kind {
            PatternKind::All => true,
            PatternKind::Exact => text == name,
            // What is left of `chat.*` is `chat.`; a topic never ends in a dot, so at least one segment follows.
            PatternKind::Prefix => text.split_last().is_some_and(|(_, prefix)| name.starts_with(prefix)),
            PatternKind::Wildcard => matches_segments(text, name),
        }
    }
}

/// Walks pattern and topic side by side. A `*` is always a whole segment, so both stand at the start of one there.
fn matches_segments(mut pattern: &[u8], mut name: &[u8]) -> bool {
    while let [wanted, pattern_rest @ ..] = pattern {
        pattern = pattern_rest;
        match (wanted, name) {
            // A topic has no empty segment, so there is at least one here for the last star to take.
            (b'*', _) if pattern.is_empty() => return true,
            (b'*', _) => {
                let end = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
                name = &name[end..];
            }
            (_, [found, name_rest @ ..]) if found == wanted => name = name_rest,
            _ => return false,
        }
    }
    name.is_empty()
}

impl fmt::Display for Pattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text)
    }
}

impl AsRef<str> for Pattern<'_> {
    fn as_ref(&self) -> &str {
        self.text
    }
}

impl<'a> From<Topic<'a>> for Pattern<'a> {
    /// [`Pattern::exact`].
    fn from(topic: Topic<'a>) -> Self {
        Self::exact(topic)
    }
}

impl<'a> TryFrom<&'a str> for Pattern<'a> {
    type Error = PatternError<'a>;

    /// [`Pattern::new`].
    fn try_from(text: &'a str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

/// A text that is not a pattern: what was refused, and by which rule.
///
/// Its text is one line; the pattern is shown in quotes, escaped and cut after 64 characters, so that it cannot forge
/// a second log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PatternError<'a> {
    text: &'a str,
    rule: PatternRule,
}

impl<'a> PatternError<'a> {
    /// The text that was refused, as it was given.
    #[must_use]
    pub const fn pattern(&self) -> &'a str {
        self.text
    }

    /// The rule that it broke.
    #[must_use]
    pub const fn rule(&self) -> PatternRule {
        self.rule
    }
}

impl fmt::Display for PatternError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pattern {}: {}", Quoted(self.text), self.rule)
    }
}

impl core::error::Error for PatternError<'_> {}

/// The rule that a refused pattern broke, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatternRule {
    /// A rule that topics have as well.
    Name(TopicRule),
    /// A `*` shares its segment with other characters, as in `cha*` or `**`.
    PartialStar {
        /// Which segment, counted from 0.
        index: usize,
        /// Where the `*` is, in bytes counted from 0.
        at: usize,
    },
}

impl fmt::Display for PatternRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Name(rule) => fmt::Display::fmt(&rule, f),
            Self::PartialStar { index, at } => {
                write!(f, "the '*' at byte {at} must be the whole of segment {}", index + 1)
            }
        }
    }
}
