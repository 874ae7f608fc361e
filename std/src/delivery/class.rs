//! Priority classes: which events go first when not all can stay.

use std::fmt;
use std::str::FromStr;

/// How much an event matters when the bus cannot keep all of them. Not the order in which handlers run: that is
/// [`Priority`](crate::Priority), which belongs to a subscription.
///
/// Classes are ordered, `Low` first, and are shown and read as `low`, `normal`, `high` and `critical`.
///
/// # Cost
///
/// One byte, 0 to 3 from low to critical; copying and comparing take constant time and allocate nothing.
///
/// # Examples
///
/// ```
/// use nervebus::Class;
///
/// assert!(Class::Low < Class::default() && Class::High < Class::Critical);
/// assert_eq!("high".parse(), Ok(Class::High));
/// assert_eq!(Class::Critical.to_string(), "critical");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Class {
    /// May go first, for example what is sent again soon anyway.
    Low,
    /// What most events are.
    #[default]
    Normal,
    /// Goes only when there is hardly any room left.
    High,
    /// Is never shed.
    Critical,
}

impl Class {
    /// All classes, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Class {
    type Err = ParseClassError;

    /// Reads a name, as it is shown.
    ///
    /// # Errors
    ///
    /// [`ParseClassError`] for anything else, other letter cases included.
    fn from_str(name: &str) -> Result<Self, ParseClassError> {
        let class = Self::ALL.into_iter().find(|class| class.as_str() == name);
        class.ok_or_else(|| ParseClassError { name: name.to_owned() })
    }
}

/// A text that names no [`Class`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseClassError {
    /// The text.
    pub name: String,
}

impl fmt::Display for ParseClassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no class; there are low, normal, high and critical", self.name)
    }
}

impl std::error::Error for ParseClassError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_as_they_are_shown_and_ordered_as_they_are_numbered() {
        for (number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.to_string().parse(), Ok(class));
            assert_eq!(class as usize, number);
        }
        assert!(Class::ALL.is_sorted());
        assert_eq!(Class::default(), Class::Normal);
        assert_eq!(format!("[{:>6}]", Class::Low), "[   low]");
    }

    #[test]
    fn what_is_no_class_comes_back_in_the_error() {
        let error = "High".parse::<Class>().unwrap_err();
        assert_eq!(error.to_string(), r#""High" is no class; there are low, normal, high and critical"#);
        assert!("".parse::<Class>().is_err());
    }
}
