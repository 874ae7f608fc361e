//! Text for people: escaped, shortened, grouped and scaled.

use std::time::Duration;

/// Escapes control and invisible characters and cuts the text to at most `limit` characters.
///
/// Events come from outside; printed raw, their text could move the cursor of a terminal or hide part of a line.
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut width = 0;
    for character in text.chars() {
        let shown = escaped(character);
        let step = shown.chars().count();
        if width + step > limit {
            return cut(out, limit);
        }
        out.push_str(&shown);
        width += step;
    }
    out
}

/// Quotes stay as they are: they are harmless, and error messages are full of them.
fn escaped(character: char) -> String {
    match character {
        '"' | '\'' | '\\' => character.to_string(),
        other => other.escape_debug().collect(),
    }
}

/// Makes room for the ellipsis inside the limit.
fn cut(mut text: String, limit: usize) -> String {
    while !text.is_empty() && text.chars().count() + 1 > limit {
        text.pop();
    }
    text.push('…');
    text
}

/// Groups the digits of a count by thousands: `1234567` becomes `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 line`, `2 lines`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A duration in the unit that keeps it short; `-` when there is nothing to show.
pub(super) fn duration(value: Option<Duration>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    match value.as_nanos() {
        nanos @ 0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", value.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\n", 80), r"a\u{1b}[2Jb\u{202e}c\n");
    }

    #[test]
    fn long_text_is_cut_to_the_limit_with_an_ellipsis() {
        assert_eq!(clean("abcdef", 4), "abc…");
        assert_eq!(clean("abcd", 4), "abcd");
        assert_eq!(clean("ab\x1b", 4).chars().count(), 3);
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "line"), counted(2, "line")], ["1 line", "2 lines"]);
    }

    #[test]
    fn durations_choose_their_unit() {
        let shown = |nanos| duration(Some(Duration::from_nanos(nanos)));
        assert_eq!([shown(850), shown(1_250), shown(2_500_000)], ["850 ns", "1.2 µs", "2.5 ms"]);
        assert_eq!(duration(None), "-");
    }
}
