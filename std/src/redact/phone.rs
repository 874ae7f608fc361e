//! Phone numbers. With a plus they are recognised anywhere; North American ones by their form; others where a word
//! before or behind says what they are, or where they are grouped as numbers of their country are.

use super::number::Cluster;
use super::text::{before, byte, is_word, run, starts_with};

/// Words before a number that say it is one to call.
#[rustfmt::skip]
const WORDS: &[&[u8]] = &[
    b"answering", b"call", b"called", b"calling", b"cell", b"cellphone", b"cellular", b"desk", b"dial", b"fax",
    b"hotline", b"landline", b"messages", b"mob", b"mobile", b"msisdn", b"office", b"ph", b"phone", b"phones", b"reach",
    b"registered", b"ring", b"sms", b"tel", b"telefon", b"telefono", b"telephone", b"text", b"voicemail",
    b"whatsapp",
];
/// Words before a number that say it is something else.
#[rustfmt::skip]
const OTHERS: &[&[u8]] = &[
    b"account", b"amount", b"batch", b"build", b"case", b"code", b"error", b"id", b"invoice", b"isbn", b"item",
    b"line", b"offset", b"order", b"page", b"pid", b"port", b"ref", b"reference", b"status", b"ticket", b"tracking",
    b"txn", b"version", b"vin", b"zip",
];
/// Words behind a number, with a hyphen, that say it is one to call.
const LABELS: &[&[u8]] = &[b"cell", b"desk", b"fax", b"home", b"mobile", b"office", b"phone", b"tel", b"work"];

/// The number with a `+` at `at`.
pub(super) fn with_plus(text: &[u8], at: usize, floor: usize) -> Option<(usize, usize)> {
    let open = usize::from(byte(text, at + 1) == b'(');
    let start = at + 1 + open;
    let glued = before(text, at);
    if !matches!(byte(text, start), b'1'..=b'9') || (is_word(glued) && !glued.is_ascii_alphabetic()) {
        return None;
    }
    let cluster = Cluster::read(text, start, floor);
    // `beta+20240301` is a version.
    if glued.is_ascii_alphabetic() && cluster.len() < 3 {
        return None;
    }
    let (groups, digits) = take(&cluster, 15);
    let code = country(cluster.group(0)?, &cluster)?;
    if !(code + 4..=15).contains(&digits) || digits < 7 {
        return None;
    }
    let start = if before(text, at) == b'(' && at > floor { at - 1 } else { at };
    Some((start, extended(text, cluster.end_of(groups - 1))))
}

/// How many groups, and digits, fit into a number of at most `limit` digits.
fn take(cluster: &Cluster<'_>, limit: usize) -> (usize, usize) {
    let (mut groups, mut digits) = (0, 0);
    while let Some(group) = cluster.group(groups) {
        if groups > 0
            && (digits + group.len() > limit || cluster.separator(groups) == Some(b'?') && !is_spaced(cluster, groups))
        {
            break;
        }
        digits += group.len();
        groups += 1;
    }
    (groups, digits)
}

/// Whether a separator of several bytes is one that is used in numbers: ` (`, ` - `, ` / `.
fn is_spaced(cluster: &Cluster<'_>, group: usize) -> bool {
    let between = &cluster.text[cluster.end_of(group - 1)..cluster.start_of(group)];
    matches!(between, b" (" | b"-(" | b" - " | b" / " | b" ~" | b".(")
}

/// How many digits the country code has, if there is such a country.
fn country(first: &[u8], cluster: &Cluster<'_>) -> Option<usize> {
    let mut digits = [b'0'; 3];
    let second = cluster.group(1).unwrap_or_default();
    for (digit, found) in digits.iter_mut().zip(first.iter().chain(second)) {
        *digit = *found;
    }
    let length = match (digits[0], digits[1], digits[2]) {
        (b'1' | b'7', ..) => 1,
        (b'2', b'0' | b'7', _) | (b'3', b'0'..=b'4' | b'6' | b'9', _) => 2,
        (b'4', b'2', _) | (b'3', b'5' | b'7' | b'8', _) => 3,
        (b'4', ..) | (b'5', b'1'..=b'8', _) | (b'6', b'0'..=b'6', _) => 2,
        (b'8', b'1' | b'2' | b'4' | b'6', _) | (b'9', b'0'..=b'5' | b'8', _) => 2,
        (b'2', b'8', _) | (b'8', b'3' | b'9', _) | (b'9', b'9', b'0' | b'1' | b'7') | (b'9', b'7', b'8') => {
            return None;
        }
        (b'2' | b'5' | b'6' | b'8' | b'9', ..) => 3,
        _ => return None,
    };
    (first.len() <= 15).then_some(length)
}

/// The number that starts with the cluster.
pub(super) fn find(cluster: &Cluster<'_>) -> Option<(usize, usize)> {
    let first = cluster.group(0)?;
    let joint = cluster.joined_to().unwrap_or(0);
    if matches!(joint, b'-' | b'.' | b'/') && cluster.follows_digit() {
        return None;
    }
    let text = cluster.text;
    let open = before(text, cluster.start()) == b'(' && cluster.start() > cluster.floor;
    let start = cluster.start() - usize::from(open);
    if let Some(end) = north_american(cluster, open) {
        return Some((start, extended(text, end)));
    }
    if first.len() < 2 && cluster.len() < 3 && !open {
        return None;
    }
    let (groups, digits) = take(cluster, 17);
    let end = cluster.end_of(groups - 1);
    let whole = groups == cluster.len() && (7..=15).contains(&digits);
    if with_two_zeros(cluster, digits) || national(cluster, groups, digits) || (whole && is_said(cluster, end, groups))
    {
        return Some((start, extended(text, end)));
    }
    None
}

/// `(212) 555-0187`, `1-212-555-0187`, `212.555.0187`, and also `001-…` and, where the area is in brackets, `(212)5550187`.
fn north_american(cluster: &Cluster<'_>, open: bool) -> Option<usize> {
    let skip = usize::from(matches!(cluster.group(0)?, b"1" | b"01" | b"001"));
    let (area, exchange) = (cluster.group(skip)?, cluster.group(skip + 1)?);
    let bracket = open || cluster.separator(skip + 1) == Some(b')') || cluster.separator(skip) == Some(b'?');
    let hyphens = cluster.separator(skip + 1) == Some(b'-') && cluster.separator(skip + 2) == Some(b'-');
    // No area and no exchange starts with 0 or 1, but numbers made up for tests have a 1 there.
    let least = if bracket || hyphens || skip > 0 { b'1' } else { b'2' };
    let valid = |group: &[u8]| group.len() >= 3 && (least..=b'9').contains(&group[0]);
    if area.len() != 3 || !valid(area) || !valid(exchange) {
        return None;
    }
    let last = match (exchange.len(), cluster.group(skip + 2).map(<[u8]>::len)) {
        (3, Some(4)) => skip + 2,
        (7, _) if bracket => skip + 1,
        _ => return None,
    };
    let joined = cluster.separator(last + 1).is_some_and(|joint| matches!(joint, b'-' | b'.'));
    (!joined).then(|| cluster.end_of(last))
}

/// `0049 30 1234567` and `011 44 20 7946 0958`: the prefix to dial abroad.
fn with_two_zeros(cluster: &Cluster<'_>, digits: usize) -> bool {
    let Some(first) = cluster.group(0) else { return false };
    let abroad = first.starts_with(b"00") && first.get(2).is_none_or(|digit| *digit != b'0') || first == b"011";
    abroad
        && (first.len() > 2 || cluster.len() > 2)
        && cluster.len() > 1
        && (10..=17).contains(&digits)
        && !first.ends_with(b"000")
}

/// `020 7946 0958`, `06 12 34 56 78`: the zero that is dialled within a country, and groups as they are written there.
fn national(cluster: &Cluster<'_>, groups: usize, digits: usize) -> bool {
    let (Some(first), Some(separator)) = (cluster.group(0), cluster.separator(1)) else { return false };
    if first[0] != b'0' || first.get(1).is_none_or(|digit| *digit == b'0') || groups != cluster.len() {
        return false;
    }
    let even = cluster.separated_by(separator, groups) && b" -.".contains(&separator);
    let pairs = groups == 5 && cluster.has_lengths(&[2; 5]);
    let grouped = (3..=5).contains(&first.len()) && (9..=11).contains(&digits) && groups <= 4;
    even && (pairs || grouped) && cluster.joined_to().is_none_or(|joint| joint == b' ')
}

/// Whether a word before or behind says that this is a number to call, and none says that it is something else.
fn is_said(cluster: &Cluster<'_>, end: usize, groups: usize) -> bool {
    if cluster.joined_to().is_some_and(|joint| joint != b' ' && joint != b'-' && joint != b'(') {
        return false;
    }
    let dated = cluster.group(0).is_some_and(|year| year.len() == 4 && matches!(year[0], b'1' | b'2'))
        && groups == 3
        && cluster.group(1).is_some_and(|month| month.len() <= 2);
    let label = matches!(byte(cluster.text, end), b'-' | b' ') && is_labelled(cluster.text, end + 1);
    if (label && cluster.len() > 1) || dated {
        return label;
    }
    let is_one_of = |word: &[u8], words: &[&[u8]]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    // `number` alone says it of what is grouped, unless it is the number of something else.
    let (mut numbered, grouped) = (false, groups > 1);
    for word in cluster.words_before().take(5) {
        if is_one_of(word, WORDS) || is_one_of(word, OTHERS) {
            return is_one_of(word, WORDS);
        }
        numbered |= word.eq_ignore_ascii_case(b"number");
    }
    (numbered && grouped && !cluster.speaks_of(&[b"card", b"serial", b"model", b"part", b"version", b"customer"]))
        || (label && byte(cluster.text, end) == b'-')
}

/// Whether a word that says what a number is for stands at `at`.
fn is_labelled(text: &[u8], at: usize) -> bool {
    LABELS.iter().any(|label| starts_with(text, at, label) && !is_word(byte(text, at + label.len())))
}

/// The end of an extension at `at`, such as ` x456`; or `at`.
pub(super) fn extension(text: &[u8], at: usize) -> usize {
    let spaces = run(text, at, 6, |byte| byte == b' ' || byte == b',');
    const NAMES: &[&[u8]] = &[b"extension", b"extn", b"ext.", b"ext", b"xtn", b"anexo", b";ext=", b"x", b"#", b"~"];
    let Some(name) = NAMES.iter().find(|name| starts_with(text, spaces, name)) else { return at };
    let start = run(text, spaces + name.len(), 2, |byte| byte == b' ' || byte == b'.' || byte == b':');
    let end = run(text, start, 8, |byte| byte.is_ascii_digit());
    if end > start && !is_word(byte(text, end)) { end } else { at }
}

fn extended(text: &[u8], end: usize) -> usize {
    extension(text, end)
}
