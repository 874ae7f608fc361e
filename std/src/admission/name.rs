//! Rules for the names of topics.

use nervebus_core::Topic;

/// What the name of a topic must look like. A name is checked when it is first emitted on; patterns have rules of
/// their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameRule {
    /// 1 to 255 bytes; segments separated by dots, none empty; no white space, no control character, no `*`.
    #[default]
    Lenient,
    /// `domain.action`, with any number of further parts; each part starts with a lower-case letter, and goes on with
    /// lower-case letters, digits and underscores.
    Strict,
}

impl NameRule {
    #[cold]
    pub(crate) fn check(self, name: &str) -> Result<(), String> {
        let checked = match self {
            Self::Lenient => Topic::new(name),
            Self::Strict => Topic::strict(name),
        };
        checked.map(drop).map_err(|error| error.to_string())
    }
}
