//! Which changes of a schema are allowed.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::change::{Breaking, Direction};
use super::compare::refused;

/// What a new version of a schema must go on to do.
///
/// The modes are those of Confluent's schema registry: backward lets consumers be updated first, forward producers, full
/// either. The transitive ones hold a version against all others, the rest against its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compatibility {
    /// Anything may change.
    None,
    /// Whoever reads with the new schema can read what was written with the version before.
    #[default]
    Backward,
    /// As [`Backward`](Self::Backward), with all versions before.
    BackwardTransitive,
    /// Whoever reads with the version before can read what is written with the new schema.
    Forward,
    /// As [`Forward`](Self::Forward), with all versions before.
    ForwardTransitive,
    /// Both backward and forward.
    Full,
    /// Both, with all versions before.
    FullTransitive,
}

/// What a value may have beyond the properties that its schema names, where the schema does not say (`additionalProperties`
/// is absent). JSON Schema lets it have anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ContentModel {
    /// Nothing: whoever writes with a schema writes what it names, as a Rust type does; whoever reads passes over the rest.
    /// So an optional property can come, and go, without breaking anybody. A schema that names no property at all lets a
    /// value have any. `"additionalProperties": true` is taken by its word.
    #[default]
    Named,
    /// Anything, as JSON Schema says. A property that gets a schema breaks backward compatibility then, for old values may
    /// have something else under its name.
    Open,
}

impl Compatibility {
    /// All modes, in the order in which they are declared.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The name: `backward_transitive`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Backward => "backward",
            Self::BackwardTransitive => "backward_transitive",
            Self::Forward => "forward",
            Self::ForwardTransitive => "forward_transitive",
            Self::Full => "full",
            Self::FullTransitive => "full_transitive",
        }
    }

    /// Whether a version is held against all others, and not against its neighbours only.
    #[must_use]
    pub const fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    /// Who must not be hurt.
    #[must_use]
    pub const fn directions(self) -> &'static [Direction] {
        match self {
            Self::None => &[],
            Self::Backward | Self::BackwardTransitive => &[Direction::Backward],
            Self::Forward | Self::ForwardTransitive => &[Direction::Forward],
            Self::Full | Self::FullTransitive => &[Direction::Backward, Direction::Forward],
        }
    }

    /// What breaks when `old` becomes `new`: empty if the two are compatible.
    ///
    /// Backward holds if every value that fits the old schema fits the new one, and forward if it is the other way round;
    /// see [`ContentModel`] for the one liberty that may be taken. What cannot be decided is
    /// [`Unknown`](crate::Change::Unknown), never compatible: a `$ref` to another document, a pattern that has changed,
    /// `oneOf` whose alternatives may overlap, `if`, `not`, `unevaluatedProperties` and their kin unless they stay as they
    /// are. A change of `format` is breaking, although validators pass over it: those who parse the text do not.
    ///
    /// # Cost
    ///
    /// In proportion to both schemas, times how deep they are nested, where there are no alternatives; each pair of
    /// alternatives is compared. After 20,000 steps the rest is unknown, and so is what is nested deeper than some dozens of
    /// levels. Schemas may be recursive.
    ///
    /// The modes and the content models are Confluent's ([Schema evolution and
    /// compatibility](https://docs.confluent.io/platform/current/schema-registry/fundamentals/schema-evolution.html); R.
    /// Yokota, "Understanding JSON Schema Compatibility", 2021, and "JSON Schema Compatibility and the Robustness
    /// Principle", 2025). The check is one of containment, after "Finding Data Compatibility Bugs with JSON Subschema
    /// Checking" (Habib et al., ISSTA 2021), without their normal form: each keyword of the reader is proven from those of
    /// the writer, so that what breaks has a name and a place.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Change, Compatibility, ContentModel, json};
    ///
    /// let old = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
    /// let mut new = old.clone();
    /// new["properties"]["note"] = json!({"type": "string"});
    /// assert!(Compatibility::Full.breaking(&old, &new, ContentModel::Named).is_empty());
    ///
    /// new["required"] = json!(["id", "note"]);
    /// let breaking = Compatibility::Backward.breaking(&old, &new, ContentModel::Named);
    /// assert_eq!((breaking[0].change, &*breaking[0].path), (Change::RequiredAdded, "/note"));
    /// ```
    #[must_use]
    pub fn breaking(self, old: &Value, new: &Value, model: ContentModel) -> Vec<Breaking> {
        let directed = |direction: Direction| {
            let (writer, reader) = if direction == Direction::Backward { (old, new) } else { (new, old) };
            refused(writer, reader, model).into_iter().map(move |finding| finding.directed(direction))
        };
        self.directions().iter().copied().flat_map(directed).collect()
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is the name of no [`Compatibility`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseCompatibilityError(String);

impl fmt::Display for ParseCompatibilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Compatibility::ALL.map(Compatibility::as_str).join(", ");
        write!(f, "{:?} is no compatibility mode; there are {names}", self.0)
    }
}

impl Error for ParseCompatibilityError {}

impl FromStr for Compatibility {
    type Err = ParseCompatibilityError;

    /// The name, in either case, with `-` or `_`.
    fn from_str(text: &str) -> Result<Self, ParseCompatibilityError> {
        let name = text.to_ascii_lowercase().replace('-', "_");
        let mode = Self::ALL.into_iter().find(|mode| mode.as_str() == name);
        mode.ok_or_else(|| ParseCompatibilityError(text.chars().take(64).collect()))
    }
}
