//! What a change of a schema breaks, and for whom.

use std::fmt;

use serde_json::Value;

/// Who is hurt by a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Those who read with the new schema what was written with the old one: handlers of today, and yesterday's log.
    Backward,
    /// Those who read with the old schema what is written with the new one: handlers that have not been updated yet.
    Forward,
}

impl Direction {
    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kind of a breaking change. Those that come in pairs break one direction each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Change {
    /// A JSON type that was allowed is not any more.
    TypeNarrowed,
    /// A JSON type is allowed that was not.
    TypeWidened,
    /// A property has become required.
    RequiredAdded,
    /// A property is not required any more.
    RequiredRemoved,
    /// A property is gone, and no others than those named are allowed.
    PropertyRemoved,
    /// There is a property that was not there, where no others than those named were allowed.
    PropertyAdded,
    /// A property has got a schema, and old values may have anything under its name.
    OpenPropertyAdded,
    /// A property has lost its schema, and new values may have anything under its name.
    OpenPropertyRemoved,
    /// Properties that are not named were allowed, and are not any more, or fewer of them are.
    ContentClosed,
    /// Properties that are not named are allowed, and were not, or more of them are.
    ContentOpened,
    /// A value has gone from an `enum` or `const`.
    ValuesRemoved,
    /// A value has come to an `enum` or `const`.
    ValuesAdded,
    /// A bound is tighter: `minimum`, `maxLength`, `multipleOf` and their kin.
    BoundTightened,
    /// A bound is looser.
    BoundLoosened,
    /// A `pattern` has come, gone or changed: which texts match both is not looked into.
    PatternChanged,
    /// A `format` has come, gone or changed.
    FormatChanged,
    /// An alternative of `anyOf` or `oneOf` has gone, or is narrower.
    AlternativeRemoved,
    /// An alternative of `anyOf` or `oneOf` has come, or is wider.
    AlternativeAdded,
    /// Whether it breaks anything cannot be told.
    Unknown,
    /// The topic is gone.
    TopicRemoved,
    /// A version of the topic is gone, and with it what its events are read with.
    VersionRemoved,
    /// The events are for something else: an event has become a command, for example.
    CategoryChanged,
    /// Events stay in order by another key.
    KeyChanged,
}

impl Change {
    /// The name in reports: `type_narrowed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TypeNarrowed => "type_narrowed",
            Self::TypeWidened => "type_widened",
            Self::RequiredAdded => "required_added",
            Self::RequiredRemoved => "required_removed",
            Self::PropertyRemoved => "property_removed",
            Self::PropertyAdded => "property_added",
            Self::OpenPropertyAdded => "open_property_added",
            Self::OpenPropertyRemoved => "open_property_removed",
            Self::ContentClosed => "content_closed",
            Self::ContentOpened => "content_opened",
            Self::ValuesRemoved => "values_removed",
            Self::ValuesAdded => "values_added",
            Self::BoundTightened => "bound_tightened",
            Self::BoundLoosened => "bound_loosened",
            Self::PatternChanged => "pattern_changed",
            Self::FormatChanged => "format_changed",
            Self::AlternativeRemoved => "alternative_removed",
            Self::AlternativeAdded => "alternative_added",
            Self::Unknown => "unknown",
            Self::TopicRemoved => "topic_removed",
            Self::VersionRemoved => "version_removed",
            Self::CategoryChanged => "category_changed",
            Self::KeyChanged => "key_changed",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One breaking change: where, what, and what was and is there.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Breaking {
    /// Where in the payload, as a JSON pointer (RFC 6901) in which `*` stands for every item or every property that is not
    /// named. Empty for the payload itself, and for what concerns the whole topic.
    pub path: String,
    /// What has changed.
    pub change: Change,
    /// Who is hurt.
    pub direction: Direction,
    /// The schema's keyword, for example `required` or `maxLength`.
    pub keyword: String,
    /// What the old schema says there. Of what is [unknown](Change::Unknown), only what a reader's schema says is given.
    pub old: Option<Value>,
    /// What the new schema says there.
    pub new: Option<Value>,
}

impl Breaking {
    /// Whether those are hurt who read with the new schema.
    pub(crate) fn is_backward(&self) -> bool {
        self.direction == Direction::Backward
    }
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{path}: {} ({} `{}`", self.change, self.direction, self.keyword)?;
        match (&self.old, &self.new) {
            (None, None) => f.write_str(")"),
            (Some(says), None) | (None, Some(says)) if self.change == Change::Unknown => {
                write!(f, ", {})", shown(Some(says)))
            }
            (old, new) => write!(f, ", {} -> {})", shown(old.as_ref()), shown(new.as_ref())),
        }
    }
}

/// The most characters of a schema that a report shows.
const SHOWN: usize = 80;

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".into(), |value| shortened(&value.to_string(), SHOWN))
}

/// The beginning of a text, with a sign where some is missing.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.into();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// What a reader does not grant a writer, whichever of them is the newer.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) rule: Rule,
    pub(crate) keyword: &'static str,
    pub(crate) writer: Option<Value>,
    pub(crate) reader: Option<Value>,
}

/// Which kind of promise is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Type,
    Required,
    Property,
    OpenProperty,
    Content,
    Values,
    Bound,
    Pattern,
    Format,
    Alternative,
    Unknown,
}

impl Finding {
    /// As a change from old to new.
    pub(crate) fn directed(self, direction: Direction) -> Breaking {
        let is_backward = direction == Direction::Backward;
        let pick = |backward, forward| if is_backward { backward } else { forward };
        let change = match self.rule {
            Rule::Type => pick(Change::TypeNarrowed, Change::TypeWidened),
            Rule::Required => pick(Change::RequiredAdded, Change::RequiredRemoved),
            Rule::Property => pick(Change::PropertyRemoved, Change::PropertyAdded),
            Rule::OpenProperty => pick(Change::OpenPropertyAdded, Change::OpenPropertyRemoved),
            Rule::Content => pick(Change::ContentClosed, Change::ContentOpened),
            Rule::Values => pick(Change::ValuesRemoved, Change::ValuesAdded),
            Rule::Bound => pick(Change::BoundTightened, Change::BoundLoosened),
            Rule::Pattern => Change::PatternChanged,
            Rule::Format => Change::FormatChanged,
            Rule::Alternative => pick(Change::AlternativeRemoved, Change::AlternativeAdded),
            Rule::Unknown => Change::Unknown,
        };
        let (old, new) = if is_backward { (self.writer, self.reader) } else { (self.reader, self.writer) };
        Breaking { path: self.path, change, direction, keyword: self.keyword.into(), old, new }
    }
}
