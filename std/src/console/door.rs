//! Who is let in: those who know the token, and those who came by a name of ours.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};

use super::answer::Refusal;
use super::{ConsoleError, TOKEN_BYTES};

/// What changing requests must show.
pub(super) struct Token(String);

impl Token {
    pub(super) fn new(token: String) -> Result<Self, ConsoleError> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConsoleError::TokenNotPrintable);
        }
        if token.len() < TOKEN_BYTES {
            return Err(ConsoleError::TokenTooShort { length: token.len(), min: TOKEN_BYTES });
        }
        Ok(Self(token))
    }

    /// Whether this is the token, in a time that depends on the lengths only.
    fn is(&self, given: &[u8]) -> bool {
        let lengths = u8::from(self.0.len() != given.len());
        let differences = self.0.bytes().enumerate().fold(lengths, |differences, (at, byte)| {
            // Opaque, so that no compiler leaves early at the first difference.
            black_box(differences | (byte ^ given.get(at).copied().unwrap_or(0)))
        });
        differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Lets a request change something.
pub(super) fn admit(token: Option<&Token>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = token else {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "this console has no token, so nothing can be changed"));
    };
    let unknown = |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, message);
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_first_chunk::<7>());
    match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") && token.is(given.trim_ascii()) => Ok(()),
        Some(_) => Err(unknown("this is not the console's token")),
        None => Err(unknown("this needs the console's token: `Authorization: Bearer …`")),
    }
}

/// By which names a server may be reached.
///
/// A name of somebody else's that is made to lead here would make a browser take this server for theirs. An address cannot
/// be made to.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    pub(super) remote: bool,
    pub(super) names: Vec<String>,
}

impl Hosts {
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut given = headers.get_all(header::HOST).iter();
        match (given.next().and_then(|host| host.to_str().ok()), given.next()) {
            (Some(host), None) if self.has(host) => Ok(()),
            _ => Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "the console does not go by this name")),
        }
    }

    fn has(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => self.remote || address.is_loopback(),
            Err(_) => {
                host.eq_ignore_ascii_case("localhost") || self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
            }
        }
    }
}
