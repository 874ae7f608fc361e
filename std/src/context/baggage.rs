//! What a request carries through all that takes part in it, as W3C Baggage has it.

use std::fmt;

use crate::redact::screen::Screen;

/// How many members everybody passes on.
const MEMBERS: usize = 64;
/// How long a header everybody passes on, in bytes.
const LENGTH: usize = 8_192;

/// What a request carries along, from whoever made it to all that takes part in it: the header `baggage`
/// ([W3C Baggage](https://www.w3.org/TR/baggage/)), keys with values.
///
/// All that is emitted for an event has the event's baggage. It goes beyond this process wherever it is
/// [sent](crate::Scope), so nothing belongs in it that others should not read.
///
/// It has at most 64 members and 8,192 bytes, which is what everybody must pass on.
///
/// # Examples
///
/// ```
/// use nervebus::Baggage;
///
/// let mut baggage = Baggage::parse("userId=alice, serverNode=DF%2028;ttl=60").ok_or("nothing in it")?;
/// assert_eq!(baggage.get("serverNode"), Some("DF 28"));
/// baggage.insert("isProduction", "false")?;
/// assert_eq!(baggage.to_string(), "userId=alice,serverNode=DF%2028;ttl=60,isProduction=false");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<Member>,
}

#[derive(Clone, PartialEq, Eq)]
struct Member {
    key: Box<str>,
    value: Box<str>,
    /// As they are written.
    properties: Vec<Box<str>>,
}

/// Why a [`Baggage`] does not take something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaggageError {
    /// A key is made of letters, digits and ``!#$%&'*+-.^_`|~``, at least one of them.
    InvalidKey {
        /// What is none.
        key: String,
    },
    /// There are 64 members already.
    TooMany {
        /// The key of the one that finds no room.
        key: String,
    },
    /// The header would be longer than 8,192 bytes.
    TooLong {
        /// The key of the one that finds no room.
        key: String,
        /// How long the header would be.
        length: usize,
    },
}

impl fmt::Display for BaggageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidKey { key } => {
                write!(f, "{key:?} is no key of a baggage: letters, digits and !#$%&'*+-.^_`|~ are")
            }
            Self::TooMany { key } => write!(f, "there is no room for {key:?}: a baggage has {MEMBERS} members at most"),
            Self::TooLong { key, length } => {
                write!(f, "there is no room for {key:?}: the baggage would have {length} bytes, at most are {LENGTH}")
            }
        }
    }
}

impl std::error::Error for BaggageError {}

impl Baggage {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: Vec::new() }
    }

    /// Reads a header; several are read as one, with commas between them. Members that are malformed, or that find no room,
    /// are left out; `None` if nothing is left.
    ///
    /// Values are percent-decoded; what is no UTF-8 then has U+FFFD in its place. Properties are kept as they are. A key that
    /// is there twice stays so.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (mut baggage, mut length) = (Self::new(), 0);
        for member in header.split(',').filter_map(Member::parse) {
            let longer = length + usize::from(!baggage.members.is_empty()) + member.length();
            if longer <= LENGTH && baggage.members.len() < MEMBERS {
                length = longer;
                baggage.members.push(member);
            }
        }
        (!baggage.members.is_empty()).then_some(baggage)
    }

    /// The value of a key; the first one, if it is there twice.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(other, value)| (other == key).then_some(value))
    }

    /// All keys and values, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|member| (&*member.key, &*member.value))
    }

    /// What is said of a key's value beside it, as it is written: `name` or `name=value`.
    pub fn properties(&self, key: &str) -> impl Iterator<Item = &str> {
        let member = self.members.iter().find(|member| *member.key == *key);
        member.into_iter().flat_map(|member| &member.properties).map(|property| &**property)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a key with its value, or gives it another value; what it had twice, it has once then, and without properties.
    ///
    /// # Errors
    ///
    /// [`BaggageError`] for what is no key and what finds no room; then nothing has changed.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), BaggageError> {
        if !is_token(key) {
            return Err(BaggageError::InvalidKey { key: key.to_owned() });
        }
        let member = Member { key: key.into(), value: value.into(), properties: Vec::new() };
        let others = || self.members.iter().filter(|other| *other.key != *key);
        let count = others().count();
        let length = others().map(|other| other.length() + 1).sum::<usize>() + member.length();
        if count == MEMBERS {
            return Err(BaggageError::TooMany { key: key.to_owned() });
        }
        if length > LENGTH {
            return Err(BaggageError::TooLong { key: key.to_owned(), length });
        }
        let at = self.members.iter().position(|other| *other.key == *key).unwrap_or(count);
        self.remove(key);
        self.members.insert(at, member);
        Ok(())
    }

    /// Takes a key away; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| *member.key != *key);
        self.members.len() < before
    }

    /// The header as a log may have it. Each value is looked at as it is meant, for encoded it would not be known.
    pub(crate) fn screened(&self, screen: &Screen) -> String {
        let shown = |member: &Member| {
            let plain = format!("{}={}", member.key, member.value);
            let shown = screen.text(&plain);
            // A key that may not be written takes its value with it.
            let (key, value) = shown.split_once('=').filter(|(key, _)| **key == *member.key)?;
            let is_harmless = |property: &str| screen.text(&decode(property)) == decode(property);
            let properties = member.properties.iter().filter(|property| is_harmless(property)).cloned().collect();
            Some(Member { key: key.into(), value: value.into(), properties })
        };
        Self { members: self.members.iter().filter_map(shown).collect() }.to_string()
    }
}

impl Member {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let (key, value) = parts.next()?.split_once('=')?;
        let (key, value) = (trim(key), trim(value));
        if !is_token(key) || !is_value(value) {
            return None;
        }
        let properties = parts.map(property).collect::<Option<_>>()?;
        Some(Self { key: key.into(), value: decode(value).into(), properties })
    }

    /// How long it is when it is written.
    fn length(&self) -> usize {
        let value: usize = self.value.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
        self.key.len() + 1 + value + self.properties.iter().map(|property| property.len() + 1).sum::<usize>()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.key)?;
        for byte in self.value.bytes() {
            if is_plain(byte) { write!(f, "{}", char::from(byte)) } else { write!(f, "%{byte:02X}") }?;
        }
        self.properties.iter().try_for_each(|property| write!(f, ";{property}"))
    }
}

/// The header.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, member) in self.members.iter().enumerate() {
            write!(f, "{}{member}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Baggage {
    /// The keys only: a value may be what no log should have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(key, _)| key)).finish()
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn property(text: &str) -> Option<Box<str>> {
    match text.split_once('=') {
        None => is_token(trim(text)).then(|| trim(text).into()),
        Some((key, value)) => {
            let (key, value) = (trim(key), trim(value));
            (is_token(key) && is_value(value)).then(|| format!("{key}={value}").into())
        }
    }
}

/// A token of HTTP (RFC 7230, section 3.2.6).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'%' || is_plain(byte))
}

/// Whether a byte of a value stands for itself when it is written.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e) && byte != b'%'
}

/// Percent-decodes; a percent sign without two digits stands for itself.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        rest = behind;
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        match (*first == b'%').then(|| digit(0).zip(digit(1))).flatten() {
            Some((high, low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
