//! One pass over a text: a table of bytes leads to candidates, and what is a candidate is looked at where it stands.
//!
//! Every look goes over a bounded window, or over a run whose end is remembered, so the time is in proportion to the
//! text whatever is in it.

use super::class::DataClass;
use super::text::{
    BEYOND_HEX, BITS, DIGIT, HYPHEN, LOWER, STANDARD, UNDERSCORE, UPPER, before, byte, is_word, starts_with, word,
};
use super::{assign, cloud, email, identity, ip, marker, number, phone, prose, provider, secret, token};

/// Something sensitive in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) class: DataClass,
    /// Which of the user's own patterns, for `DataClass::Custom`.
    pub(super) custom: u16,
}

impl Hit {
    pub(super) fn new(start: usize, end: usize, class: DataClass) -> Self {
        Self { start, end, class, custom: 0 }
    }
}

/// A run of bytes that was looked at as a whole: what starts in it needs no second look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Where a pass stands, and what it knows about what is ahead.
#[derive(Debug)]
pub(super) struct Scan<'t> {
    pub(super) text: &'t [u8],
    /// The end of the last hit: nothing may start before it.
    pub(super) floor: usize,
    /// No IPv6 address starts before this.
    pub(super) colons: usize,
    /// No provider's token starts before this.
    pub(super) confirmed: usize,
    /// The runs of URL-safe and of standard base64 around the last word.
    pub(super) url: Seen,
    pub(super) standard: Seen,
    /// There is no `-----END` behind this.
    pub(super) endless: bool,
}

/// What to do at a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Pass,
    Word,
    At,
    Percent,
    Colon,
    Equals,
    Plus,
    Hyphen,
    Comma,
    Greater,
    Bracket,
}

static STEPS: [Step; 256] = steps();

const fn steps() -> [Step; 256] {
    let (mut table, mut byte) = ([Step::Pass; 256], 0);
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'@' => Step::At,
            b'%' => Step::Percent,
            b':' => Step::Colon,
            b'=' => Step::Equals,
            b'+' => Step::Plus,
            b'-' => Step::Hyphen,
            b',' => Step::Comma,
            b'>' => Step::Greater,
            b'[' => Step::Bracket,
            _ if BITS[byte] & (LOWER | UPPER | DIGIT | UNDERSCORE) != 0 => Step::Word,
            _ => Step::Pass,
        };
        byte += 1;
    }
    table
}

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            floor: 0,
            colons: 0,
            confirmed: 0,
            url: Seen::default(),
            standard: Seen::default(),
            endless: false,
        }
    }

    /// Hands every hit to `accept`, from left to right. If it refuses one, the pass goes on behind the byte that led to
    /// it. A hit that starts before the last one replaces it, which `accept` sees by its start.
    pub(super) fn run(mut self, mut accept: impl FnMut(Hit) -> bool) {
        let mut at = 0;
        while let Some(byte) = self.text.get(at) {
            let (found, next) = match STEPS[*byte as usize] {
                Step::Pass => {
                    at += 1;
                    continue;
                }
                Step::Word => self.word(at),
                Step::Bracket => {
                    let end = marker::end(self.text, at);
                    self.floor = end.unwrap_or(self.floor);
                    (None, end.unwrap_or(at + 1))
                }
                step => (self.punctuation(step, at), at + 1),
            };
            at = match found {
                Some(hit) if hit.end > at && accept(hit) => {
                    self.floor = hit.end;
                    hit.end
                }
                _ => next,
            };
        }
    }

    fn punctuation(&mut self, step: Step, at: usize) -> Option<Hit> {
        let (text, next) = (self.text, byte(self.text, at + 1));
        match step {
            Step::At => email::find(self, at),
            Step::Percent if text[at..].starts_with(b"%40") => email::find(self, at),
            Step::Colon if next == b'/' && byte(text, at + 2) == b'/' => secret::url_password(self, at + 3),
            Step::Colon
                if next == b':' && before(text, at) != b':' && text.get(at + 2).is_some_and(u8::is_ascii_hexdigit) =>
            {
                ip::with_colons(self, at).or_else(|| assign::find(self, at))
            }
            Step::Colon | Step::Equals => assign::find(self, at),
            Step::Comma if matches!(before(text, at), b'"' | b'\'') => assign::find_pair(self, at),
            Step::Greater
                if (is_word(before(text, at)) || matches!(before(text, at), b'"' | b'\'')) && next != b' ' =>
            {
                assign::find_element(self, at)
            }
            Step::Plus => {
                phone::with_plus(text, at, self.floor).map(|(start, end)| Hit::new(start, end, DataClass::Phone))
            }
            Step::Hyphen if next == b'u' || text[at..].starts_with(b"-user ") => token::user_option(text, at),
            Step::Hyphen if matches!(next, b'p' | b'a') => prose::short_option(text, at),
            Step::Hyphen if next == b'-' && before(text, at) != b'-' => {
                secret::private_key(self, at).or_else(|| prose::option(text, at))
            }
            _ => None,
        }
    }

    /// What stands at the start of a word, and where to go on if it is nothing.
    fn word(&mut self, start: usize) -> (Option<Hit>, usize) {
        let (end, bits) = word(self.text, start);
        let next = byte(self.text, end);
        let joined = BITS[next as usize] & (STANDARD | HYPHEN) != 0 || matches!(next, b'.' | b':');
        let joined = joined && byte(self.text, end + 1) > b' ';
        if bits & (DIGIT | UNDERSCORE) == 0 && !joined && end - start < 16 {
            let said = || prose::find(self.text, start, end);
            return (token::scheme(self.text, start, end).or_else(said), end);
        }
        let skipped = number::uuid(self.text, start).filter(|_| end - start == 8);
        if let Some(end) = skipped {
            return (None, end);
        }
        (self.value(start, end, bits).or_else(|| prose::set(self.text, start, end)), end)
    }

    /// What the value is that starts with the word from `start` to `end`.
    pub(super) fn value(&mut self, start: usize, end: usize, bits: u8) -> Option<Hit> {
        let (text, next) = (self.text, byte(self.text, end));
        if bits == DIGIT {
            let address = if next == b':' && end - start <= 4 { ip::with_colons(self, start) } else { None };
            let bot = || provider::bot(text, start, end);
            let refresh = || if text[start..].starts_with(b"1//0") { cloud::find(self, start, end) } else { None };
            let found = address.or_else(bot).or_else(refresh).or_else(|| number::find(self, start));
            if found.is_some() {
                return found;
            }
        } else if let Some(hit) = token::find(self, start, end) {
            return Some(hit);
        }
        if bits & BEYOND_HEX == 0 {
            let address = if next == b':' && end - start <= 4 { ip::with_colons(self, start) } else { None };
            let hyphens = || ip::mac_with_hyphens(text, start).map(|end| Hit::new(start, end, DataClass::Mac));
            if let Some(hit) = address.or_else(|| if end - start == 2 { hyphens() } else { None }) {
                return Some(hit);
            }
        }
        let glued = if end - start >= 6 && starts_with(text, start, b"iban") { 4 } else { 0 };
        if let Some(end) = identity::iban(text, start + glued) {
            return Some(Hit::new(start + glued, end, DataClass::Iban));
        }
        secret::bare(self, start)
    }
}
