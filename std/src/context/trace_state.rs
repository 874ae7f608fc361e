//! What a `tracestate` may say (W3C Trace Context, level 1, section 3.3).

const MEMBERS: usize = 32;
/// How long it may be, as far as everybody passes it on.
const LENGTH: usize = 512;
/// Members that are longer go first when not all can stay.
const LONG: usize = 128;

/// The members without white space around them; `None` if there is none, or one of them is malformed.
pub(super) fn parse(text: &str) -> Option<String> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let texts = text.split(',').map(|member| member.trim_matches([' ', '\t']));
    for (at, member) in texts.filter(|member| !member.is_empty()).enumerate() {
        let (key, value) = member.split_once('=')?;
        if at == MEMBERS || !is_key(key) || !is_value(value) {
            return None;
        }
        if members.iter().all(|(other, _)| *other != key) {
            members.push((key, member));
        }
    }
    let mut members: Vec<_> = members.into_iter().map(|(_, member)| member).collect();
    shorten(&mut members);
    (!members.is_empty()).then(|| members.join(","))
}

/// Leaves out what does not fit: from the end, long ones first.
fn shorten(members: &mut Vec<&str>) {
    while members.iter().map(|member| member.len() + 1).sum::<usize>() > LENGTH + 1 {
        let long = members.iter().rposition(|member| member.len() > LONG);
        members.remove(long.unwrap_or(members.len() - 1));
    }
}

fn is_key(key: &str) -> bool {
    let starts_with_letter = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase());
    let starts = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    match key.split_once('@') {
        None => starts_with_letter(key) && is_part(key, 256),
        Some((tenant, system)) => {
            starts(tenant) && is_part(tenant, 241) && starts_with_letter(system) && is_part(system, 14)
        }
    }
}

fn is_part(part: &str, most: usize) -> bool {
    let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    part.len() <= most && part.bytes().all(fits)
}

/// White space at its end was taken away with that around the member.
fn is_value(value: &str) -> bool {
    let fits = |byte| matches!(byte, b' '..=b'~') && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(fits)
}
