//! Tokens of many more providers, each known by a prefix and a form. A prefix leads here; the form is confirmed by a
//! regular expression, anchored, on a short window.

use std::sync::OnceLock;

use regex_lite::Regex;

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{DIGIT, Set, byte, gather, is_word, run};

/// The longest window that is confirmed.
const WINDOW: usize = 320;
/// Fewer bytes than this, and a token is none.
const SHORTEST: usize = 20;

/// Prefixes and what must follow; sorted by prefix.
const FORMS: &[(&str, &str)] = &[
    ("AGE-SECRET-KEY-1", "[0-9A-Z]{58}"),
    ("AKCp", "[A-Za-z0-9]{60,80}"),
    ("ATATT3", "[A-Za-z0-9_=-]{100,250}"),
    ("ATBB", "[A-Za-z0-9]{32}"),
    ("CLOJARS_", "(?i:[a-z0-9]{60})"),
    ("EAA", "[A-Za-z0-9]{60,250}"),
    ("EZAK", "[A-Za-z0-9]{54}"),
    ("EZTK", "[A-Za-z0-9]{54}"),
    ("FLWPUBK_TEST-", "[A-Za-z0-9-]{16,60}"),
    ("FLWSECK_TEST-", "[A-Za-z0-9-]{12,60}"),
    ("FLWSECK-", "[A-Za-z0-9-]{16,60}"),
    ("GR1348941", "[A-Za-z0-9_-]{20}"),
    ("HRKU-", "[A-Za-z0-9_-]{36,80}"),
    ("LTAI", "[A-Za-z0-9]{16,24}"),
    ("NRAK-", "[A-Z0-9]{27}"),
    ("NRJS-", "[a-f0-9]{19}"),
    ("NRII-", "[A-Za-z0-9-]{32}"),
    ("PMAK-", "[A-Za-z0-9]{24}-[A-Za-z0-9]{34}"),
    ("SG.", "[A-Za-z0-9_=.-]{40,70}"),
    ("dapi", "[a-f0-9]{32}(?:-[0-9])?"),
    ("dckr_pat_", "[A-Za-z0-9_-]{27}"),
    ("dckr_oat_", "[A-Za-z0-9_-]{32}"),
    ("doo_v1_", "[a-f0-9]{64}"),
    ("dop_v1_", "[a-f0-9]{64}"),
    ("dor_v1_", "[a-f0-9]{64}"),
    ("dp.", "(?:pt|st|ct|sa|scim|audit)\\.(?:[a-z0-9_-]{2,35}\\.)?[A-Za-z0-9]{40,44}"),
    ("duffel_", "(?:test|live)_[A-Za-z0-9_=-]{43}"),
    ("dt0c01.", "[A-Z0-9]{24}\\.[A-Z0-9]{64}"),
    ("figd_", "[A-Za-z0-9_-]{36,50}"),
    ("flb_live_", "[A-Za-z0-9]{10,60}"),
    ("fio-u-", "[A-Za-z0-9_=-]{64}"),
    ("fm1r_", "[A-Za-z0-9+/=_-]{60,250}"),
    ("fm2_", "[A-Za-z0-9+/=_-]{60,250}"),
    ("fo1_", "[A-Za-z0-9_-]{43}"),
    ("glc_", "[A-Za-z0-9+/]{32,250}={0,3}"),
    ("glsa_", "[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    ("gsk_", "[A-Za-z0-9]{40,64}"),
    ("hf_", "[A-Za-z0-9]{30,40}"),
    ("hvb.", "[A-Za-z0-9_-]{90,250}"),
    ("hvs.", "[A-Za-z0-9_-]{24,250}"),
    ("key-", "[a-f0-9]{32}"),
    ("lin_api_", "[A-Za-z0-9]{40}"),
    ("lin_oauth_", "[A-Za-z0-9]{40,64}"),
    ("lsv2_", "(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    ("npm_", "[A-Za-z0-9]{36}"),
    ("ntn_", "[A-Za-z0-9]{40,50}"),
    ("oes_", "[A-Za-z0-9]{32,40}"),
    ("oy2", "[a-z0-9]{43}"),
    ("phc_", "[A-Za-z0-9]{32,50}"),
    ("phx_", "[A-Za-z0-9]{32,50}"),
    ("pnu_", "[A-Za-z0-9]{36}"),
    ("pplx-", "[A-Za-z0-9]{40,60}"),
    ("pscale_", "(?:oauth|pw|tkn)_[A-Za-z0-9=._-]{32,64}"),
    ("pul-", "[a-f0-9]{40}"),
    ("pypi-", "[A-Za-z0-9_-]{50,250}"),
    ("r8_", "[A-Za-z0-9]{32,44}"),
    ("rdme_", "[a-z0-9]{70}"),
    ("rubygems_", "[a-f0-9]{48}"),
    ("sbp_", "[a-f0-9]{40}"),
    ("sgp_", "(?:[a-fA-F0-9]{16}_|local_)?[a-fA-F0-9]{40}"),
    ("shpat_", "[A-Za-z0-9]{32}"),
    ("shpca_", "[A-Za-z0-9]{32}"),
    ("shppa_", "[A-Za-z0-9]{32}"),
    ("shpss_", "[A-Za-z0-9]{32}"),
    ("shippo_", "(?:live|test)_[a-fA-F0-9]{40}"),
    ("sk-", "[A-Za-z0-9_-]{20,250}"),
    ("sl.", "[A-Za-z0-9_=-]{100,200}"),
    ("sntryu_", "[a-f0-9]{64}"),
    ("sntrys_", "[A-Za-z0-9_+/=-]{60,250}"),
    ("sq0atp-", "[A-Za-z0-9_-]{22}"),
    ("sq0csp-", "[A-Za-z0-9_-]{43}"),
    ("tfp_", "[A-Za-z0-9]{44}"),
    ("tk-us-", "[A-Za-z0-9_-]{48}"),
    ("v1.0-", "[a-f0-9]{24}-[a-f0-9]{146}"),
    ("waka_", "[a-f0-9-]{36}"),
    ("xai-", "[A-Za-z0-9]{60,90}"),
    ("xkeysib-", "[a-f0-9]{64}-[A-Za-z0-9]{16}"),
];

/// The expressions, made when first used. One that cannot be made is left out; a test makes them all.
fn forms() -> &'static [(&'static [u8], Regex)] {
    static MADE: OnceLock<Vec<(&'static [u8], Regex)>> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = |(prefix, rest): &(&'static str, &str)| {
            Some((prefix.as_bytes(), Regex::new(&format!("^(?:{rest})")).ok()?))
        };
        FORMS.iter().filter_map(made).collect()
    })
}

/// Where the forms are whose prefix starts with a byte; they stand together.
static RANGES: [(u8, u8); 256] = ranges();

const fn ranges() -> [(u8, u8); 256] {
    let (mut table, mut at) = ([(0, 0); 256], 0);
    while at < FORMS.len() {
        let first = FORMS[at].0.as_bytes()[0] as usize;
        if table[first].1 == 0 {
            table[first].0 = at as u8;
        }
        at += 1;
        table[first].1 = at as u8;
    }
    table
}

fn belongs(byte: u8) -> bool {
    static TOKEN: Set = Set::word_and(b"-.+/=~");
    TOKEN.has(byte)
}

/// The token that starts with the word at `start`.
pub(super) fn find(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    let text = scan.text;
    let (from, to) = RANGES[text[start] as usize];
    if start < scan.confirmed || from == to {
        return None;
    }
    let forms = forms().get(usize::from(from)..usize::from(to))?;
    let (prefix, form) = forms.iter().find(|(prefix, _)| text[start..].starts_with(prefix))?;
    let rest = start + prefix.len();
    let stop = run(text, rest, WINDOW, belongs);
    scan.confirmed = stop;
    let window =
        std::str::from_utf8(&text[rest..stop]).ok().filter(|window| window.len() + prefix.len() >= SHORTEST)?;
    // Names with hyphens start like some tokens, and have no digits.
    if gather(window.as_bytes()) & DIGIT == 0 {
        return None;
    }
    let end = rest + form.find(window)?.end();
    (!is_word(byte(text, end))).then(|| Hit::new(start, end, DataClass::ApiToken))
}

/// `110201543:AAHdq…`: the token of a Telegram bot; `1234567890123456|abc…`: one of a Facebook app.
pub(super) fn bot(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let digits = &text[start..end];
    if !matches!(byte(text, end), b':' | b'|') || digits.len() < 8 {
        return None;
    }
    let stop = run(text, end + 1, 48, |byte| is_word(byte) || byte == b'-');
    let fits = matches!((digits.len(), text[end], stop - end - 1), (8..=10, b':', 34..=36) | (15..=17, b'|', 26..=28));
    (fits && digits.iter().all(u8::is_ascii_digit)).then(|| Hit::new(start, stop, DataClass::ApiToken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_can_be_made() {
        assert_eq!(forms().len(), FORMS.len());
    }

    #[test]
    fn forms_that_start_alike_stand_together() {
        for first in 0..=255_u8 {
            let (from, to) = RANGES[usize::from(first)];
            let all = FORMS.iter().filter(|(prefix, _)| prefix.as_bytes()[0] == first).count();
            assert_eq!(all, usize::from(to - from), "{}", char::from(first));
        }
    }
}
