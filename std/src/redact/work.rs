//! Hostile texts, held by the work that is done on them: how many bytes are looked at, which no load of the machine
//! changes.

use super::Redactor;
use super::text::work;

/// What an attacker would send over and over.
const HOSTILE: &[&str] = &[
    "a",
    "1",
    "4",
    "-",
    "_",
    ".",
    "@",
    ":",
    "=",
    "/",
    "+",
    "\"",
    "\\",
    "[",
    "{",
    "(",
    " ",
    "1-1-1-",
    "1.1.",
    "1:1:",
    "1::",
    "::",
    "://a",
    "://a:b",
    "a@",
    "a.a@",
    "eyJ",
    "eyJ.",
    "eyJaaaaaaa.",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY----- ",
    "key=",
    "token=",
    "token=f(",
    "token=\"",
    "token: a ",
    "password=a ",
    "password: \"a b ",
    "secret='",
    "\"token\",\"",
    "value=\"",
    "&a=b",
    "{\"a\":",
    "[[",
    "\"\\\"",
    "{\\\"a\\\":\\\"",
    "xoxb-",
    "ghp_",
    "glpat-",
    "sk-",
    "SG.",
    "npm_aaaaaaaaaaaaaaaaaaa ",
    "arn:aws:",
    "arn:aws:a:b:c:d ",
    "AKIA",
    "GB82 WEST 1234 ",
    "+1 ",
    "+1234567 ",
    "(415) ",
    "1234567 ",
    "4111 ",
    "call 1 ",
    "00-11-",
    "Bearer ",
    "Bearer x ",
    "hooks.slack.com/services/",
    "[REDACTED",
    "[REDACTED_EMAIL]",
    "/a",
    "aA1",
    "é",
    "a_secret_",
    "ya29.",
    "ZXlK-",
    "1//0",
    "12345678:",
    "a%40",
    "sha256:",
    "a@[",
    "a@a.",
    "https://a.",
    "x1 ",
    "~1",
    "dp.pt.",
    "\"name\":\"password\",",
    "Authorization: ",
    "Authorization: Token ",
    "Authorization: Token a1",
    "password is ",
    "password a1 ",
    "password for ",
    "password is \"a1",
    "IDENTIFIED BY 'a",
    "by '",
    "--token ",
    "--token a1",
    " -p a1",
    " -pa",
    "mysql -p",
    " set token ",
    "%40",
    "a%40b.c",
    "://a:b/c@d",
    "://a:b@c/",
    "secret key: ",
    "key=\"token\">a",
    "\"token\",\"value\":\"",
    "iban",
    "{\"value\":1,",
    "[\"token\",\"a1b2c3\",",
];

/// How many bytes are looked at to redact a line of at least `length` bytes.
fn looks(part: &str, length: usize, redact: impl Fn(&Redactor, &[u8], &mut Vec<u8>)) -> u64 {
    let text = part.repeat(length / part.len() + 1);
    let (redactor, mut out, before) = (Redactor::default(), Vec::new(), work());
    redact(&redactor, text.as_bytes(), &mut out);
    work() - before
}

fn assert_linear(redact: impl Fn(&Redactor, &[u8], &mut Vec<u8>) + Copy) {
    const LENGTH: usize = 20_000;
    for part in HOSTILE {
        let (once, four) = (looks(part, LENGTH, redact), looks(part, 4 * LENGTH, redact));
        assert!(once <= 120 * LENGTH as u64, "{part:?}: {} looks a byte", once / LENGTH as u64);
        assert!(four <= 5 * once + 1_000, "{part:?}: {once} looks become {four} for four times the text");
    }
}

#[test]
fn no_text_is_looked_at_more_often_than_its_length_says() {
    assert_linear(|redactor, text, out| {
        redactor.redact_line(text, out);
    });
}

#[test]
fn no_string_in_json_is_either() {
    assert_linear(|redactor, text, out| {
        let text = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
        redactor.redact_line(format!("{{\"note\":{text}}}").as_bytes(), out);
    });
}

#[test]
fn json_in_json_in_json_is_looked_at_a_few_times_only() {
    let mut text = String::from("{\"password\": \"hunter2\"}");
    for _ in 0..8 {
        text = serde_json::json!({ "note": text }).to_string();
    }
    let looked = looks(&text, text.len() - 1, |redactor, text, out| {
        assert_eq!(redactor.redact_line(text, out).total(), 1);
    });
    assert!(looked <= 40 * text.len() as u64, "{looked} looks at {} bytes", text.len());
}
