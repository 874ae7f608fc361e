//! What a query string asks for.

use std::str;

use super::answer::Refusal;

/// The parameters of a query, decoded.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Takes a query apart. What is not among `known`, is there twice or is no text is refused: a parameter that has no
    /// effect would be taken for one that has.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Refusal> {
        let mut asked = Self::default();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&&*name) {
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return Err(Refusal::bad(format!("there is no parameter {name:?} here; there is {known}")));
            }
            if asked.get(&name).is_some() {
                return Err(Refusal::bad(format!("the parameter {name:?} is there twice")));
            }
            asked.0.push((name, value));
        }
        Ok(asked)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }
}

/// Undoes percent-encoding as forms have it: a plus is a space.
fn decode(text: &str) -> Result<String, Refusal> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = after.get(2..).unwrap_or_default();
                byte.ok_or_else(|| Refusal::bad("the query has a '%' without two hexadecimal digits"))?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| Refusal::bad("the query is not UTF-8"))
}
