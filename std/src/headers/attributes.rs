//! Attributes: headers of any name.

use std::fmt;

/// Texts by name, such as no header of their own is there for.
///
/// A name is 1 to [`MAX_NAME`](Self::MAX_NAME) of the characters `a` to `z`, `0` to `9`, `_`, `.` and `-`; a value is any text.
/// All names and values together are at most [`MAX_BYTES`](Self::MAX_BYTES) bytes.
///
/// They are kept in the order of their names. Its `Debug` shows the names only: a value may be what no log should have.
///
/// # Cost
///
/// Looking one up is a binary search; putting one in moves those behind it.
///
/// # Examples
///
/// ```
/// use nervebus::Attributes;
///
/// let mut attributes = Attributes::default();
/// attributes.insert("tenant", "north")?;
/// assert_eq!(attributes.get("tenant"), Some("north"));
/// assert!(attributes.insert("Tenant", "north").is_err());
/// # Ok::<(), nervebus::AttributeError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// In the order of names, each once.
    pairs: Vec<(Box<str>, Box<str>)>,
    bytes: usize,
}

impl Attributes {
    /// How long a name may be, in bytes.
    pub const MAX_NAME: usize = 64;
    /// How many bytes all names and values may have together.
    pub const MAX_BYTES: usize = 8 << 10;

    /// Puts one in, in place of one that has its name.
    ///
    /// # Errors
    ///
    /// [`AttributeError`], with name and value; nothing has changed then.
    pub fn insert(&mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Result<(), AttributeError> {
        let (name, value) = (name.into(), value.into());
        if !is_name(&name) {
            return Err(AttributeError::Name { name, value });
        }
        let place = self.place(&name);
        let before = place.ok().and_then(|at| self.pairs.get(at)).map_or(0, |(name, value)| name.len() + value.len());
        let bytes = (self.bytes - before).saturating_add(name.len()).saturating_add(value.len());
        if bytes > Self::MAX_BYTES {
            return Err(AttributeError::TooMuch { name, value, bytes });
        }
        self.bytes = bytes;
        match place {
            Ok(at) => {
                if let Some(pair) = self.pairs.get_mut(at) {
                    pair.1 = value;
                }
            }
            Err(at) => self.pairs.insert(at, (name, value)),
        }
        Ok(())
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.place(name).ok()?;
        self.pairs.get(at).map(|(_, value)| &**value)
    }

    /// All names with their values, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-');
    (1..=Attributes::MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

/// Why an attribute was not put in.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttributeError {
    /// The name is empty, too long, or has other characters than it may have.
    Name {
        /// The name.
        name: Box<str>,
        /// The value that was to have it.
        value: Box<str>,
    },
    /// With it, all attributes together would be too large.
    TooMuch {
        /// The name.
        name: Box<str>,
        /// The value that was to have it.
        value: Box<str>,
        /// How many bytes all would have.
        bytes: usize,
    },
}

impl AttributeError {
    /// The name that was refused.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name { name, .. } | Self::TooMuch { name, .. } => name,
        }
    }

    /// The value that was refused.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Name { value, .. } | Self::TooMuch { value, .. } => value,
        }
    }
}

impl fmt::Display for AttributeError {
    /// The name and the rule, never the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = Attributes::MAX_BYTES;
        let name: String = self.name().chars().take(Attributes::MAX_NAME + 1).collect();
        match self {
            Self::Name { .. } => write!(
                f,
                "attribute name {name:?} is not 1 to {} characters of 'a' to 'z', '0' to '9', '_', '.' and '-'",
                Attributes::MAX_NAME
            ),
            Self::TooMuch { bytes, .. } => {
                write!(f, "with attribute {name:?} all would have {bytes} bytes; {MOST} are the most")
            }
        }
    }
}

impl fmt::Debug for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttributeError({self})")
    }
}

impl std::error::Error for AttributeError {}
