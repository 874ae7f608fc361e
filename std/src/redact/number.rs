//! Groups of digits with single separators between them: what cards, phones and social security numbers are made of.

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{Set, before, byte, is_word, run, run_back};
use super::{card, identity, ip, phone};

/// As many groups as a number has.
const GROUPS: usize = 9;
/// The longest group that is looked at.
const GROUP: usize = 24;
/// How far back a word that says what a number is may stand.
const CONTEXT: usize = 48;

/// Some groups of digits, the first of which is where the scan stands.
pub(super) struct Cluster<'t> {
    pub(super) text: &'t [u8],
    pub(super) floor: usize,
    groups: [(usize, usize); GROUPS],
    len: usize,
}

/// A separator between two groups of one number; longer ones count as one of these.
fn is_separator(byte: u8) -> bool {
    static SEPARATORS: Set = Set::of(b" -./()~");
    SEPARATORS.has(byte)
}

/// The length of a dash or space at `at` that typesetting puts in the place of `-` and ` `, and which of the two it is.
fn typeset(text: &[u8], at: usize) -> Option<(usize, u8)> {
    match text.get(at..)? {
        // Hyphen, non-breaking hyphen, figure dash, en dash, em dash, bar; minus; small and full-width hyphen.
        [0xe2, 0x80, 0x90..=0x95, ..] | [0xe2, 0x88, 0x92, ..] | [0xef, 0xb9, 0xa3, ..] | [0xef, 0xbc, 0x8d, ..] => {
            Some((3, b'-'))
        }
        // Figure space, thin space, narrow no-break space; no-break space.
        [0xe2, 0x80, 0x87 | 0x89 | 0xaf, ..] => Some((3, b' ')),
        [0xc2, 0xa0, ..] => Some((2, b' ')),
        _ => None,
    }
}

/// The end of what separates two groups, at most three signs.
fn separators(text: &[u8], start: usize) -> usize {
    let mut end = start;
    for _ in 0..3 {
        let sign = byte(text, end);
        end += match typeset(text, end).filter(|_| sign >= 0x80) {
            Some((length, _)) => length,
            None if is_separator(sign) => 1,
            None => break,
        };
    }
    end
}

/// The same sign, whichever way it is written, if there is one.
fn plain(between: &[u8]) -> Option<u8> {
    match between {
        [one] => Some(*one),
        more => typeset(more, 0).filter(|(length, _)| *length == more.len()).map(|(_, sign)| sign),
    }
}

impl<'t> Cluster<'t> {
    /// Reads the groups from `start`, which is at a digit.
    pub(super) fn read(text: &'t [u8], start: usize, floor: usize) -> Self {
        let mut cluster = Self { text, floor, groups: [(0, 0); GROUPS], len: 0 };
        let mut at = start;
        while cluster.len < GROUPS {
            let end = run(text, at, GROUP, |byte| byte.is_ascii_digit());
            // Digits that a letter follows belong to a word; an extension may follow.
            let glued = is_word(byte(text, end))
                && !(phone::extension(text, end) > end && (cluster.len > 0 || before(text, start) == b'+'));
            if end == at || (glued && end - at < GROUP) || byte(text, end).is_ascii_digit() {
                break;
            }
            cluster.groups[cluster.len] = (at, end);
            cluster.len += 1;
            let next = separators(text, end);
            if next == end || !byte(text, next).is_ascii_digit() {
                break;
            }
            at = next;
        }
        // Two numbers with a dash between them, of more than one byte, are the ends of a range: `2019–2024`.
        if cluster.len == 2 && cluster.start_of(1) > cluster.end_of(0) + 1 && cluster.separator(1) == Some(b'-') {
            cluster.len = 1;
        }
        cluster
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn start(&self) -> usize {
        self.groups[0].0
    }

    pub(super) fn end_of(&self, group: usize) -> usize {
        self.groups[group].1
    }

    pub(super) fn start_of(&self, group: usize) -> usize {
        self.groups[group].0
    }

    /// The digits of a group.
    pub(super) fn group(&self, at: usize) -> Option<&'t [u8]> {
        let (start, end) = *self.groups[..self.len].get(at)?;
        self.text.get(start..end)
    }

    /// What stands before a group: the separator if it is one byte, `)` if there is one in it, else `?`.
    pub(super) fn separator(&self, group: usize) -> Option<u8> {
        if group == 0 || group >= self.len {
            return None;
        }
        let between = &self.text[self.groups[group - 1].1..self.groups[group].0];
        plain(between).or(if between.contains(&b')') { Some(b')') } else { Some(b'?') })
    }

    /// Whether all separators up to a group are this byte.
    pub(super) fn separated_by(&self, separator: u8, groups: usize) -> bool {
        (1..groups).all(|group| self.separator(group) == Some(separator))
    }

    /// The separator that joins this cluster to a digit or letter before it, if one does.
    pub(super) fn joined_to(&self) -> Option<u8> {
        self.joint().map(|(_, sign)| sign)
    }

    /// Whether a digit stands before that separator.
    pub(super) fn follows_digit(&self) -> bool {
        self.joint().is_some_and(|(at, _)| before(self.text, at).is_ascii_digit())
    }

    /// Where that separator is, and which.
    fn joint(&self) -> Option<(usize, u8)> {
        let (text, start) = (self.text, self.start());
        let sign = before(text, start);
        let found = if sign >= 0x80 {
            let ends_here = |length: usize| {
                let at = start.checked_sub(length)?;
                typeset(text, at).filter(|found| found.0 == length).map(|(_, sign)| (at, sign))
            };
            ends_here(3).or_else(|| ends_here(2))
        } else {
            is_separator(sign).then(|| (start - 1, sign))
        };
        found.filter(|(at, _)| *at > self.floor && is_word(before(text, *at)))
    }

    /// The lengths of the groups.
    pub(super) fn has_lengths(&self, lengths: &[usize]) -> bool {
        self.len >= lengths.len()
            && lengths.iter().zip(&self.groups).all(|(length, (start, end))| end - start == *length)
    }

    /// The words shortly before the cluster, nearest first, while they may belong to its sentence.
    pub(super) fn words_before(&self) -> impl Iterator<Item = &'t [u8]> {
        let (text, mut at) = (self.text, self.start());
        let stop = at.saturating_sub(CONTEXT);
        std::iter::from_fn(move || {
            let end = run_back(text, at, at - stop, |byte| !byte.is_ascii_alphanumeric());
            let start = run_back(text, end, end.saturating_sub(stop), |byte| byte.is_ascii_alphanumeric());
            at = start;
            (start < end).then(|| &text[start..end])
        })
    }

    /// Whether one of the words (in lower case) stands shortly before.
    pub(super) fn speaks_of(&self, words: &[&[u8]]) -> bool {
        self.words_before().any(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
    }
}

/// What the number at `start` is.
pub(super) fn find(scan: &Scan<'_>, start: usize) -> Option<Hit> {
    let text = scan.text;
    let first = run(text, start, 4, |byte| byte.is_ascii_digit()) - start;
    // A single digit starts an address, a number with the prefix 1, and little else.
    let short = first == 1 && !(3..5).all(|at| text[start] == b'1' && byte(text, start + at).is_ascii_digit());
    let dotted = first < 4 && byte(text, start + first) == b'.' && before(text, start) != b'.';
    if let Some(end) = if dotted { ip::v4(text, start) } else { None } {
        return Some(Hit::new(start, end, DataClass::Ipv4));
    }
    if short && text[start] != b'0' {
        return None;
    }
    let cluster = Cluster::read(text, start, scan.floor);
    if cluster.len() == 0 {
        return None;
    }
    if let Some(end) = identity::ssn(&cluster) {
        return Some(Hit::new(start, end, DataClass::Ssn));
    }
    if let Some(end) = card::find(&cluster) {
        return Some(Hit::new(start, end, DataClass::Card));
    }
    let (start, end) = phone::find(&cluster)?;
    Some(Hit::new(start, end, DataClass::Phone))
}

/// Whether a UUID starts here; its groups may be of digits only.
pub(super) fn uuid(text: &[u8], start: usize) -> Option<usize> {
    let part = text.get(start..start + 36)?;
    let fits = part.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (fits && !is_word(byte(text, start + 36))).then_some(start + 36)
}
