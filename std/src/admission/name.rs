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

/// Whether a topic's name is `domain.action`, with any number of further parts, as [`NameRule::Strict`] asks.
///
/// ```
/// use nervebus::is_valid_event_type;
///
/// assert!(is_valid_event_type("user.login") && is_valid_event_type("chat.message.sent"));
/// assert!(!is_valid_event_type("login") && !is_valid_event_type("User.Login"));
/// ```
pub const fn is_valid_event_type(name: &str) -> bool {
    Topic::strict(name).is_ok()
}

/// The domain of a topic's name: its first segment. `None` for what is no name.
///
/// ```
/// assert_eq!(nervebus::extract_domain("user.login"), Some("user"));
/// assert_eq!(nervebus::extract_domain(""), None);
/// ```
pub fn extract_domain(name: &str) -> Option<&str> {
    Some(Topic::new(name).ok()?.domain())
}

/// The action of a topic's name: all that follows its domain. `None` for what is no name, and for a name of one segment.
///
/// ```
/// assert_eq!(nervebus::extract_action("user.login"), Some("login"));
/// assert_eq!(nervebus::extract_action("chat.message.sent"), Some("message.sent"));
/// assert_eq!(nervebus::extract_action("login"), None);
/// ```
pub fn extract_action(name: &str) -> Option<&str> {
    Topic::new(name).ok()?.action()
}
