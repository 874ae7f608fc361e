//! The chain of hashes that ties each line of a log to the line before it.
//!
//! A chained line ends in `,"hash":"…"}`: 64 lowercase hex digits of BLAKE3 over the 64 digits of the line before it
//! and this line up to, and not including, that `,"hash":"`. Before the first line stand 64 zeros. The chain goes on
//! across rotations and restarts, so that whoever edits, removes, inserts or moves a line breaks it there.

/// The digits of a hash as they stand in a line.
pub(crate) type Digits = [u8; 64];

/// What stands before the first line of a log.
pub(crate) const BEGINNING: Digits = [b'0'; 64];

/// What stands between a line and its hash.
pub(crate) const KEY: &[u8] = br#","hash":""#;

/// What stands behind the hash.
pub(crate) const END: &[u8] = br#""}"#;

/// Splits a chained line into what is hashed and the digits it ends with; `None` if it does not end with a hash. A
/// line end behind it does not matter.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], &Digits)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (rest, digits) = line.strip_suffix(END)?.split_last_chunk()?;
    let is_hex = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { Some((rest.strip_suffix(KEY)?, digits)) } else { None }
}

/// The end of a chain, to which the next line is tied.
#[cfg(feature = "blake3")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    last: Digits,
}

#[cfg(feature = "blake3")]
impl Chain {
    /// A chain that goes on behind a line with these digits: [`BEGINNING`] for the first line of a log.
    pub(crate) fn after(last: Digits) -> Self {
        Self { last }
    }

    /// Ties a line to the chain and gives the digits that it ends with. The line is given up to, and not including, its
    /// [`KEY`].
    pub(crate) fn next(&mut self, line_without_hash: &[u8]) -> Digits {
        self.last = self.digits_of(line_without_hash);
        self.last
    }

    /// The digits that a line has to end with if it comes next. The chain stays where it is.
    pub(crate) fn digits_of(&self, line_without_hash: &[u8]) -> Digits {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.last).update(line_without_hash);
        hex(hasher.finalize().as_bytes())
    }
}

/// Ties lines to a chain, or leaves them as they are.
#[derive(Debug)]
pub(crate) struct Linker {
    #[cfg(feature = "blake3")]
    chain: Option<Chain>,
}

impl Linker {
    /// Goes on behind a line with these digits; `None` for lines that are left as they are.
    #[cfg_attr(not(feature = "blake3"), allow(unused_variables, reason = "no line can be chained"))]
    pub(crate) fn new(last: Option<Digits>) -> Self {
        Self {
            #[cfg(feature = "blake3")]
            chain: last.map(Chain::after),
        }
    }

    /// Whether lines are tied to each other.
    pub(crate) fn is_on(&self) -> bool {
        #[cfg(feature = "blake3")]
        return self.chain.is_some();
        #[cfg(not(feature = "blake3"))]
        false
    }

    /// By how many bytes a line grows.
    pub(crate) fn growth(&self) -> u64 {
        let growth = KEY.len() + BEGINNING.len() + END.len() - b"}".len();
        if self.is_on() { growth as u64 } else { 0 }
    }

    /// Appends a line, with its end.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, line: &[u8]) {
        #[cfg(feature = "blake3")]
        if let (Some(chain), Some(body)) = (&mut self.chain, line.strip_suffix(b"}\n")) {
            let digits = chain.next(body);
            for part in [body, KEY, &digits, END, b"\n"] {
                out.extend_from_slice(part);
            }
            return;
        }
        out.extend_from_slice(line);
    }
}

/// The BLAKE3 of some bytes, as digits.
#[cfg(feature = "blake3")]
pub(crate) fn digits(bytes: &[u8]) -> Digits {
    hex(blake3::hash(bytes).as_bytes())
}

/// The BLAKE3 of what comes in pieces, as digits.
#[cfg(feature = "blake3")]
#[derive(Debug, Default)]
pub(crate) struct Digest(blake3::Hasher);

#[cfg(feature = "blake3")]
impl Digest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn digits(&self) -> Digits {
        hex(self.0.finalize().as_bytes())
    }
}

#[cfg(feature = "blake3")]
fn hex(bytes: &[u8; 32]) -> Digits {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = BEGINNING;
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_found_only_where_it_is_the_last_key_of_the_line() {
        let digits = "0123456789abcdef".repeat(4);
        let line = format!(r#"{{"seq":1,"hash":"{digits}"}}"#);
        for end in ["", "\n", "\r\n"] {
            let line = format!("{line}{end}");
            let (rest, found) = split(line.as_bytes()).unwrap();
            assert_eq!((rest, &found[..]), (&br#"{"seq":1"#[..], digits.as_bytes()));
        }
        for line in [
            format!(r#"{{"seq":1,"hash":"{}"}}"#, digits.to_uppercase()),
            format!(r#"{{"seq":1,"hash":"{}"}}"#, &digits[1..]),
            format!(r#"{{"seq":1,"hash":"0{digits}"}}"#),
            format!(r#"{{"seq":1,"hash":"{digits}","more":1}}"#),
            format!(r#"{{"seq":1,"hash": "{digits}"}}"#),
            String::new(),
        ] {
            assert_eq!(split(line.as_bytes()), None, "{line}");
        }
    }

    #[cfg(feature = "blake3")]
    #[test]
    fn each_line_is_tied_to_the_one_before_it() {
        let mut chain = Chain::after(BEGINNING);
        let first = chain.next(b"one");
        assert_eq!(first, digits(format!("{}one", "0".repeat(64)).as_bytes()));
        let again = chain.clone();
        let second = chain.next(b"two");
        assert_eq!(second, digits([&first[..], b"two"].concat().as_slice()));
        assert_eq!(again.digits_of(b"two"), second);
        assert_ne!(Chain::after(BEGINNING).next(b"two"), second);
    }

    #[cfg(feature = "blake3")]
    #[test]
    fn the_digits_are_those_of_the_published_hash() {
        // The first of the test vectors of BLAKE3: no bytes at all.
        assert_eq!(&digits(b""), b"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }
}
