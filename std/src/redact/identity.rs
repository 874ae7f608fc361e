//! Numbers that states and banks give to people: social security numbers and IBANs.

use super::number::Cluster;
use super::text::{byte, is_word, starts_with};

/// The end of the United States social security number that starts with the cluster: `AAA-GG-SSSS`, where the area is
/// neither 000 nor 666 nor 9xx, and neither group nor serial is all zeros. Nine digits without separators count where the
/// text says what they are.
pub(super) fn ssn(cluster: &Cluster<'_>) -> Option<usize> {
    let area = cluster.group(0)?;
    let refused = |area: &[u8]| area.starts_with(b"9") || area.starts_with(b"000") || area.starts_with(b"666");
    if refused(area) {
        return None;
    }
    let said = || cluster.words_before().any(|word| starts_with(word, 0, b"ssn") || starts_with(word, 0, b"social"));
    // Grouped otherwise than it is usual: only where the text says so.
    for lengths in [&[3, 3, 3][..], &[3, 6], &[5, 4]] {
        let exact = cluster.len() == lengths.len() && cluster.has_lengths(lengths);
        if exact && cluster.joined_to().is_none_or(|joint| joint == b' ') && said() {
            return Some(cluster.end_of(lengths.len() - 1));
        }
    }
    if area.len() == 9 {
        let zero = &area[3..5] == b"00" || area.ends_with(b"0000");
        let alone = cluster.joined_to().is_none_or(|joint| joint == b' ');
        return (!zero && alone && said()).then(|| cluster.end_of(0));
    }
    if !cluster.has_lengths(&[3, 2, 4]) {
        return None;
    }
    let separator = cluster.separator(1).filter(|separator| b"- .".contains(separator))?;
    let zero = cluster.group(1)? == b"00" || cluster.group(2)? == b"0000";
    let joined = |joint: u8| cluster.follows_digit() && (joint != b' ' || joint == separator);
    let named = |joint: u8| joint != b' ' && !cluster.follows_digit() && !said();
    let longer = cluster.joined_to().is_some_and(|joint| joined(joint) || named(joint))
        || cluster.separator(3).is_some_and(|joint| joint == separator || joint == b'-');
    (!zero && cluster.separator(2) == Some(separator) && !longer).then(|| cluster.end_of(2))
}

/// The length of an IBAN by country (the SWIFT registry).
fn iban_length(country: [u8; 2]) -> Option<usize> {
    const LENGTHS: &[(usize, &[u8])] = &[
        (15, b"NO"),
        (16, b"BE"),
        (18, b"DKFKFOFINLGLSD"),
        (19, b"MKSI"),
        (20, b"ATBAEELTLUXKKZ"),
        (21, b"CHHRLILV"),
        (22, b"BGBHCRDEGBGEIEMERSVA"),
        (23, b"AEGIILIQOMSOTL"),
        (24, b"ADCZESMDPKROSASESKTNVG"),
        (25, b"LYPTST"),
        (26, b"ISTR"),
        (27, b"BIDJFRGRITMCMRSM"),
        (28, b"ALAZBYCYDOGTHULBNIPLSV"),
        (29, b"BREGPSQAUA"),
        (30, b"JOKWMU"),
        (31, b"MTSC"),
        (33, b"RU"),
    ];
    LENGTHS.iter().find(|(_, countries)| countries.chunks(2).any(|pair| pair == country)).map(|(length, _)| *length)
}

/// The end of the IBAN at `start`: as long as its country says, check digits right (ISO 13616, modulo 97). Groups may be
/// separated by single spaces or hyphens.
pub(super) fn iban(text: &[u8], start: usize) -> Option<usize> {
    let head = text.get(start..start + 4)?;
    if !(head[0].is_ascii_alphabetic()
        && head[1].is_ascii_alphabetic()
        && head[2].is_ascii_digit()
        && head[3].is_ascii_digit())
    {
        return None;
    }
    let length = iban_length([head[0].to_ascii_uppercase(), head[1].to_ascii_uppercase()])?;
    let (mut at, mut taken, mut rest) = (start, 0, 0_u32);
    let push = |rest: u32, byte: u8| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    };
    while taken < length {
        let each = byte(text, at);
        if each.is_ascii_alphanumeric() {
            if taken >= 4 {
                rest = push(rest, each);
            }
            taken += 1;
        } else if !(matches!(each, b' ' | b'-') && taken > 0 && byte(text, at + 1).is_ascii_alphanumeric()) {
            return None;
        }
        at += 1;
    }
    let rest = head.iter().fold(rest, |rest, byte| push(rest, *byte));
    (rest == 1 && !is_word(byte(text, at))).then_some(at)
}
