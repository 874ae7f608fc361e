//! Payment card numbers: a known issuer, the length it uses, and the check digit of Luhn.

use super::number::Cluster;

/// The longest card number, in digits.
const LONGEST: usize = 19;

/// Whether the digits pass the check of Luhn (ISO/IEC 7812-1, annex B).
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place & 1);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether an issuer gives out numbers that start like this and are as long.
fn is_issued(digits: &[u8]) -> bool {
    let first =
        |count: usize| digits[..count].iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let length = digits.len();
    match first(4) {
        // JCB has had many beginnings.
        3000..=3999 if length == 16 => true,
        // American Express.
        3400..=3499 | 3700..=3799 => length == 15,
        // Diners Club.
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => matches!(length, 14 | 16..=19),
        // JCB.
        3528..=3589 => matches!(length, 16..=19),
        2131 | 1800 => length == 15,
        // Visa.
        4000..=4999 => matches!(length, 13 | 16 | 18 | 19),
        // Mastercard; Mir.
        5100..=5599 | 2221..=2720 | 2200..=2204 => length == 16,
        // Troy; Discover, UnionPay, and Maestro, which has all lengths; the shortest only where the text speaks of a card.
        9792 if length == 16 => true,
        5000..=5099 | 5600..=6999 | 8100..=8171 => matches!(length, 13..=19),
        _ => false,
    }
}

/// Whether the digits are a trade item number (GTIN-13, once EAN), whose check digit weighs every second digit thrice.
fn is_trade_item(digits: &[u8]) -> bool {
    let weigh = |(at, digit): (usize, &u8)| u32::from(digit - b'0') * if at % 2 == 1 { 3 } else { 1 };
    digits.len() == 13 && digits.iter().enumerate().map(weigh).sum::<u32>().is_multiple_of(10)
}

/// Whether this is a card number without separators.
pub(super) fn is_card(digits: &[u8]) -> bool {
    (13..=LONGEST).contains(&digits.len())
        && is_issued(digits)
        && digits.iter().any(|digit| *digit != digits[0])
        && passes_luhn(digits)
}

/// The end of the card number that starts with the cluster.
pub(super) fn find(cluster: &Cluster<'_>) -> Option<usize> {
    let first = cluster.group(0)?;
    if !matches!(first[0], b'1'..=b'6' | b'8' | b'9') || first.len() < 4 {
        return None;
    }
    let said = || cluster.speaks_of(&[b"card", b"cc", b"pan", b"visa", b"maestro"]);
    // Maestro is the only one to have 13 digits besides Visa, and hardly does.
    let item = first[0] != b'4' && is_trade_item(first) && !said();
    // The digits behind the point of a fraction.
    let fraction = cluster.joined_to() == Some(b'.') && cluster.follows_digit();
    if is_card(first) {
        return (!item && !fraction).then(|| cluster.end_of(0));
    }
    if first.len() == 12 && matches!(first[0], b'5' | b'6') && passes_luhn(first) && cluster.speaks_of(&[b"card"]) {
        return Some(cluster.end_of(0));
    }
    if first.len() > 8 {
        return None;
    }
    let separator = cluster.separator(1)?;
    let (mut digits, mut length, mut found) = ([0; LONGEST], 0, None);
    for at in 0..cluster.len() {
        let group = cluster.group(at)?;
        let joined = at == 0 || cluster.separator(at) == Some(separator);
        if !joined || (at > 0 && group.len() < 2) || length + group.len() > LONGEST {
            break;
        }
        digits[length..length + group.len()].copy_from_slice(group);
        length += group.len();
        let ends = separator == b' ' || cluster.separator(at + 1) != Some(separator);
        if at > 0 && ends && is_card(&digits[..length]) {
            found = Some(cluster.end_of(at));
        }
    }
    found
}
