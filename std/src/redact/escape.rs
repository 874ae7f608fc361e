//! The escapes of JSON strings, undone and done again.

/// Appends `raw`, a string as it stands between its quotes in JSON, without its escapes. Half a surrogate pair has no
/// character; it is written as the three bytes it would have, which [`escape`] turns back.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        out.extend_from_slice(&raw[at..at + found]);
        at += found + 2;
        match raw.get(at - 1) {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'u') => at = unicode(raw, at, out),
            Some(byte) => out.push(*byte),
            None => return,
        }
    }
    out.extend_from_slice(&raw[at.min(raw.len())..]);
}

/// The code unit of the four digits at `at`.
fn unit(raw: &[u8], at: usize) -> Option<u32> {
    let digits = std::str::from_utf8(raw.get(at..at + 4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

fn unicode(raw: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let Some(first) = unit(raw, at) else { return at };
    let second = if raw.get(at + 4..at + 6) == Some(b"\\u") { unit(raw, at + 6) } else { None };
    let (code, end) = match second {
        Some(low @ 0xDC00..=0xDFFF) if (0xD800..0xDC00).contains(&first) => {
            (0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00), at + 10)
        }
        _ => (first, at + 4),
    };
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // 0xD800 to 0xDFFF: 1101 1xxx xxxx xxxx.
        None => out.extend_from_slice(&[0xED, 0x80 | (code >> 6) as u8 & 0x3F, 0x80 | code as u8 & 0x3F]),
    }
    end
}

/// Appends `text` with the escapes it needs in JSON.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => hex(u32::from(*byte), out),
            0xED if text.get(at + 1).is_some_and(|next| *next >= 0xA0) && at + 2 < text.len() => {
                hex(0xD000 | u32::from(text[at + 1] & 0x3F) << 6 | u32::from(text[at + 2] & 0x3F), out);
                at += 2;
            }
            _ => out.push(*byte),
        }
        at += 1;
    }
}

fn hex(code: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    let digit = |shift: u32| char::from_digit(code >> shift & 15, 16).unwrap_or('0') as u8;
    out.extend_from_slice(&[digit(12), digit(8), digit(4), digit(0)]);
}
