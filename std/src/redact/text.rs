//! Classes of bytes and small steps over them. Everything here looks at ASCII only: a byte of 0x80 or above belongs to
//! no class, so every finding starts and ends between characters.

/// What a byte is, as bits, so that the bits of a whole word can be gathered.
pub(super) const LOWER: u8 = 1;
pub(super) const UPPER: u8 = 2;
pub(super) const DIGIT: u8 = 4;
pub(super) const UNDERSCORE: u8 = 8;
/// A letter above `f`, which no hexadecimal number has.
pub(super) const BEYOND_HEX: u8 = 16;
/// `+` and `/`: base64 as it is usual.
pub(super) const STANDARD: u8 = 32;
/// `-`, and with `_`: base64 as it is used in URLs.
pub(super) const HYPHEN: u8 = 64;

const WORD: u8 = LOWER | UPPER | DIGIT | UNDERSCORE;

/// The bits of every byte.
pub(super) static BITS: [u8; 256] = bits();

const fn bits() -> [u8; 256] {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'f' => LOWER,
            b'g'..=b'z' => LOWER | BEYOND_HEX,
            b'A'..=b'F' => UPPER,
            b'G'..=b'Z' => UPPER | BEYOND_HEX,
            b'0'..=b'9' => DIGIT,
            b'_' => UNDERSCORE,
            b'+' | b'/' => STANDARD,
            b'-' => HYPHEN,
            _ => 0,
        };
        byte += 1;
    }
    table
}

/// A set of bytes, as a table: one look for each byte of a run.
pub(super) struct Set([bool; 256]);

impl Set {
    /// Exactly these.
    pub(super) const fn of(bytes: &[u8]) -> Self {
        let (mut set, mut at) = ([false; 256], 0);
        while at < bytes.len() {
            set[bytes[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    /// These, and letters, digits and `_`.
    pub(super) const fn word_and(bytes: &[u8]) -> Self {
        let (Self(mut set), mut at) = (Self::of(bytes), 0);
        while at < 256 {
            set[at] |= BITS[at] & WORD != 0;
            at += 1;
        }
        Self(set)
    }

    /// Everything but these, spaces and control characters.
    pub(super) const fn until(bytes: &[u8]) -> Self {
        let (Self(mut set), mut at) = (Self::of(bytes), 0);
        while at < 256 {
            set[at] = !set[at] && at > b' ' as usize;
            at += 1;
        }
        Self(set)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }
}

/// A letter, a digit or `_`.
pub(super) fn is_word(byte: u8) -> bool {
    BITS[byte as usize] & WORD != 0
}

/// The byte at `at`, or 0 behind the end, which belongs to no class.
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// The byte before `at`, or 0 at the start.
pub(super) fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(0, |at| byte(text, at))
}

/// The end of the word that starts at `start`, and the bits of its bytes.
pub(super) fn word(text: &[u8], start: usize) -> (usize, u8) {
    let (mut end, mut gathered) = (start, 0);
    while let Some(bits) = text.get(end).map(|byte| BITS[*byte as usize]).filter(|bits| bits & WORD != 0) {
        gathered |= bits;
        end += 1;
    }
    count(end - start + 1);
    (end, gathered)
}

/// The end of the run of bytes that `belongs` accepts, at most `limit` bytes long.
pub(super) fn run(text: &[u8], start: usize, limit: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let window = &text[start.min(text.len())..text.len().min(start.saturating_add(limit))];
    let length = window.iter().position(|byte| !belongs(*byte)).unwrap_or(window.len());
    count(length + 1);
    start + length
}

/// The start of the run of bytes before `end` that `belongs` accepts, at most `limit` bytes long.
pub(super) fn run_back(text: &[u8], end: usize, limit: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let window = &text[end.saturating_sub(limit)..end];
    let length = window.iter().rev().position(|byte| !belongs(*byte)).unwrap_or(window.len());
    count(length + 1);
    end - length
}

/// The bits of all bytes of `part`.
pub(super) fn gather(part: &[u8]) -> u8 {
    count(part.len());
    part.iter().fold(0, |gathered, byte| gathered | BITS[*byte as usize])
}

/// How often two neighbours are of different classes (lower, upper, digit). Random text changes at every second or
/// third byte, words and paths at every sixth to tenth.
pub(super) fn changes(part: &[u8]) -> usize {
    const CLASS: u8 = LOWER | UPPER | DIGIT;
    count(part.len());
    let class = |byte: u8| BITS[byte as usize] & CLASS;
    part.windows(2)
        .filter(|pair| class(pair[0]) != class(pair[1]) && class(pair[0]) != 0 && class(pair[1]) != 0)
        .count()
}

/// Whether `text` has `prefix` at `at`, whatever its case. `prefix` is in lower case.
pub(super) fn starts_with(text: &[u8], at: usize, prefix: &[u8]) -> bool {
    text.get(at..at + prefix.len()).is_some_and(|part| part.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
std::thread_local! {
    static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many bytes were looked at on this thread, but for the one look that the pass itself takes at each.
#[cfg(test)]
pub(super) fn work() -> u64 {
    WORK.get()
}

/// Counts looks, in tests; nothing otherwise.
#[inline(always)]
fn count(_looks: usize) {
    #[cfg(test)]
    WORK.set(WORK.get() + _looks as u64);
}
