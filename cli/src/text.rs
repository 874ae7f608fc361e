//! Text from outside, made harmless for a terminal.

use std::fmt::Write;

/// Whether a character could steer a terminal, or change the order in which it shows others.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text with escapes (`\u{1b}`) for such characters.
pub(crate) fn safe(text: &str) -> String {
    if !text.chars().any(is_harmful) {
        return text.to_owned();
    }
    let escaped = |c: char| if is_harmful(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// A JSON document with the escapes of JSON for such characters: the same document.
pub(crate) fn safe_json(json: &str) -> String {
    if !json.chars().any(is_harmful) {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            // Between the values of a document, where any space will do; within a text they cannot stand.
            '\t' | '\r' | '\n' => text.push(' '),
            c if is_harmful(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to memory cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

/// The first `width` characters of a text, with a sign where some are missing.
pub(crate) fn short(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_becomes_an_escape() {
        assert_eq!(safe("a\x1b[31m\u{9b}b\u{202e}é"), "a\\u{1b}[31m\\u{9b}b\\u{202e}é");
        assert_eq!(safe_json("{\"a\":\t\"\u{7f}\u{9b}\u{feff}é\"}"), "{\"a\": \"\\u007f\\u009b\\ufeffé\"}");
        assert_eq!((short("abcd", 4), short("abcde", 4)), ("abcd".into(), "abc…".into()));
    }
}
