//! Secrets in the many forms in which people, shells and services write them, and what only looks like one.

use nervebus::{Redactor, Value, json};

const SECRET: &str = "hunter2-Xq9";

/// Replaces `%` in each form by a secret, and asserts that it is gone and that the rest stays.
fn assert_hidden(forms: &[&str]) {
    for form in forms {
        let (before, behind) = form.split_once('%').expect("a place for the secret");
        let redacted = Redactor::default().redact(&format!("{before}{SECRET}{behind}")).into_owned();
        let whole = redacted.starts_with(before) && redacted.ends_with(behind);
        assert!(whole && redacted[before.len()..].starts_with("[REDACTED"), "{form} became {redacted}");
        assert!(!redacted.contains(SECRET), "{form} became {redacted}");
    }
}

fn assert_gone(pairs: &[(&str, &str)]) {
    for (text, value) in pairs {
        let redacted = Redactor::default().redact(text).into_owned();
        assert!(text.contains(value) && !redacted.contains(value), "{text} became {redacted}");
    }
}

fn assert_untouched(texts: &[&str]) {
    for text in texts {
        assert_eq!(Redactor::default().redact(text), *text);
    }
}

#[test]
fn secrets_that_a_sentence_names_are_found() {
    assert_hidden(&[
        "my password is %",
        "the password was % yesterday",
        "the password for bob is %.",
        "password has been changed to %",
        "temp password \"%\"",
        "my password is: %",
        "api key is %",
        "secret key: %",
        "login bob password %",
        "requirepass %",
        "passwort: %",
    ]);
    assert_untouched(&[
        "the password is wrong",
        "password is required",
        "the password was changed",
        "Failed password for root from",
        "wrong password for bob",
        "password authentication failed for user \"bob\"",
        "password sha256 is used",
        "the secret to success",
        "token budget 5000",
        "token is ERC20",
        "api key is missing",
        "key to the door",
        "pass 3 of 5",
    ]);
}

#[test]
fn secrets_that_commands_and_statements_take_are_found() {
    assert_hidden(&[
        "app --password % run",
        "app --db-password '%'",
        "app --api-key %",
        "sshpass -p % ssh host",
        "sshpass -p '%' ssh host",
        "mysql -u root -p% db",
        "docker login -u bob -p % host",
        "redis-cli -a %",
        "mongosh -u a -p % --host h",
        "SECRET_KEY = b\"%\"",
        "<password value=\"%\"/>",
        "CREATE USER x IDENTIFIED BY '%'",
        "identified with native by \"%\"",
        "ALTER USER x WITH PASSWORD '%'",
        "ENV API_KEY %",
        "aws configure set aws_secret_access_key %",
        "<entry key=\"password\">%</entry>",
        "\"name\":\"DB_PASSWORD\",\"value\":\"%\"",
        "Authorization: Token %",
        "authorization: ApiKey %",
        "{Authorization=[Bearer %]}",
    ]);
    assert_gone(&[("curl -u'bob:hunter2' x", "hunter2"), ("password=\"my pass word 42\"", "my pass word 42")]);
    assert_untouched(&[
        "app --password-file /run/x",
        "app --token to use",
        "app --password $PASS",
        "mkdir -p a1/b2",
        "ssh -p 2222 host",
        "mysql -p",
        "sorted by 'name'",
        "identified by \"id\"",
        "pwd=/home/bob",
        "password: (hidden)",
        "password: \"must be at least 8 characters long\"",
        "Authorization: <token>",
        "set timeout a1b2c3d4",
    ]);
}

#[test]
fn numbers_are_known_by_what_stands_beside_them() {
    assert_gone(&[
        ("SocialSecurityNumber=219099998", "219099998"),
        ("ssn: 219 099 998", "219 099 998"),
        ("ssn-219-09-9998", "219-09-9998"),
        ("msisdn=447911123456", "447911123456"),
        ("IBANDE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
        ("john%40example.org", "john%40example.org"),
        ("card 9792000000000003", "9792000000000003"),
    ]);
    assert_untouched(&[
        "EAN 5901234123457",
        "0.4111111111111111",
        "icon@2x.png",
        "ssh://git@example.com/org/repo",
        "1.2.3.4-beta",
        "AssemblyVersion(\"1.0.0.0\")",
        "section 1.2.3.4",
        "sku-219-09-9998",
    ]);
}

#[test]
fn tokens_of_less_common_kinds_are_found() {
    let body = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6";
    for head in ["1//0", "sk_org_live_", "ek_live_", "whsec_"] {
        assert_gone(&[(&format!("got {head}{body} here"), body)]);
    }
    let runner = "GR1348941a1B2c3D4e5F6g7H8i9J0";
    assert_gone(&[(&format!("runner {runner}"), runner)]);
    let hook = "T0AB12CD3/B0EF45GH6/a1B2c3D4e5F6g7H8i9J0k1L2";
    assert_gone(&[(&format!("https://hooks.slack-gov.com/services/{hook}"), hook)]);
    assert_untouched(&[
        "/very/long/path/to/some/File/With/Capitals/And/More/Parts/In/It/2024/x",
        "thisIsAVeryLongCamelCaseIdentifierThatGoesOnAndOnAndOnForeverAndEver1",
        "sha256sum: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ]);
}

#[test]
fn passwords_in_urls_may_have_any_sign_in_them() {
    for password in ["p/a@ss", "a@b/c", "pa?ss", "a#bc", "p@ss"] {
        let url = format!("https://joe:{password}@example.com/x");
        assert_eq!(Redactor::default().redact(&url), "https://joe:[REDACTED_URL_PASSWORD]@example.com/x");
    }
    assert_untouched(&["https://example.com:8080/react@18.2.0", "https://example.com/maps/@51.5,-0.1,15z"]);
    let url = Redactor::default().redact("https://joe:hunter2@npm/react@18").into_owned();
    assert_eq!(url, "https://joe:[REDACTED_URL_PASSWORD]@npm/react@18");
}

/// The document redacted as text and as a value, which must be the same.
fn redacted(document: &Value) -> String {
    let (mut value, mut out) = (document.clone(), Vec::new());
    Redactor::default().redact_value(&mut value);
    Redactor::default().redact_json(document.to_string().as_bytes(), &mut out).expect("JSON");
    assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), value);
    value.to_string()
}

#[test]
fn a_value_is_named_by_what_stands_beside_it_in_either_order() {
    for naming in ["name", "Key", "field", "label", "variable", "id"] {
        for named in ["value", "Value", "val", "content", "data"] {
            let document = json!([{ naming: "DB_PASSWORD", named: SECRET, "n": 1 }]);
            assert!(!redacted(&document).contains(SECRET), "{document}");
            let line = format!("{{\"{named}\":\"{SECRET}\",\"n\":[1],\"{naming}\":\"plain\"}}");
            assert_eq!(Redactor::default().redact(&line), line);
            let line = format!("{{\"{named}\": \"{SECRET}\", \"n\": 1, \"{naming}\": \"password\"}}");
            let mut out = Vec::new();
            Redactor::default().redact_json(line.as_bytes(), &mut out).expect("JSON");
            assert!(!String::from_utf8_lossy(&out).contains(SECRET), "{line}");
        }
    }
    let plain = json!({ "value": "blue9", "name": "colour", "data": "x9" });
    assert_eq!(redacted(&plain), plain.to_string());
}

#[test]
fn a_string_in_an_array_is_named_by_the_one_before_it() {
    for document in [
        json!({ "headers": [["Authorization", SECRET]] }),
        json!({ "args": ["run", "--token", SECRET] }),
        json!({ "raw": ["X-Api-Key", SECRET, "Host", "example"] }),
    ] {
        assert!(!redacted(&document).contains(SECRET), "{document}");
    }
    let plain = json!({ "tags": ["password", "token", "oauth2", "security"], "fields": ["secret", "user_id"], "scopes": ["auth", "read:user2"] });
    assert_eq!(redacted(&plain), plain.to_string());
}

#[test]
fn words_about_where_a_secret_is_used_do_not_hide_its_name() {
    for key in [
        "api_key_prod",
        "tokenValue",
        "private_key_pem",
        "authHeader",
        "pinNumber",
        "dbpwd",
        "access_token_old",
        "user_pw",
        "keystore_pass",
    ] {
        assert!(!redacted(&json!({ key: SECRET })).contains(SECRET), "{key}");
    }
    for key in ["colour_value", "old", "base", "primary", "current_value", "token_count", "key_primary_id"] {
        assert!(redacted(&json!({ key: SECRET })).contains(SECRET), "{key}");
    }
}

#[test]
fn numbers_with_typographic_dashes_and_spaces_are_numbers() {
    for dash in ["-", "\u{2010}", "\u{2011}", "\u{2012}", "\u{2013}", "\u{2014}", "\u{2212}", "\u{ff0d}"] {
        for (number, marker) in [
            ("6011~1111~1111~1117", "[REDACTED_CREDIT_CARD]"),
            ("219~09~9997", "[REDACTED_SSN]"),
            ("212~555~0187", "[REDACTED_PHONE]"),
            ("+44~20~7946~0018", "[REDACTED_PHONE]"),
        ] {
            let text = format!("see {} there", number.replace('~', dash));
            assert_eq!(Redactor::default().redact(&text), format!("see {marker} there"), "{text}");
        }
    }
    for space in ["\u{a0}", "\u{2007}", "\u{2009}", "\u{202f}"] {
        let text = "6011~1111~1111~1117, call +44~20~7946~0018".replace('~', space);
        assert_eq!(Redactor::default().redact(&text), "[REDACTED_CREDIT_CARD], call [REDACTED_PHONE]", "{text}");
    }
    assert_untouched(&[
        "mobile users 2019\u{2013}2024",
        "call volume 100\u{2013}2000000",
        "pages 1024\u{2013}2048",
        "10\u{a0}000\u{a0}000 people",
        "2024\u{2011}01\u{2011}31",
        "ISBN 978\u{2011}3\u{2011}16\u{2011}148410\u{2011}0",
        "part 12\u{2013}219\u{2013}09\u{2013}9997\u{2013}3",
        "\u{2013}5\u{2013}",
    ]);
}

#[test]
fn keys_of_services_are_known_by_the_name_of_the_service() {
    assert_gone(&[
        ("my heroku key is 3f2a1b0c-9d8e-4f7a-8b6c-5d4e3f2a1b0c", "9d8e-4f7a"),
        ("the Datadog key 9775a026f1ca7d1c6c5af9d94d9595a4", "9775a026"),
        ("HEROKU_KEY=3f2a1b0c-9d8e-4f7a-8b6c-5d4e3f2a1b0c", "9d8e-4f7a"),
        ("openaiKey: \"Zk3mQ9xTb7LpW2vR8sYd\"", "Zk3mQ9xT"),
        ("mapbox.key = Zk3mQ9xTb7LpW2vR8sYd", "Zk3mQ9xT"),
    ]);
    assert_untouched(&[
        "the idempotency key 3f2a1b0c-9d8e-4f7a-8b6c-5d4e3f2a1b0c",
        "cache key is 3f2a1b0c-9d8e-4f7a-8b6c-5d4e3f2a1b0c",
        "partition_key=3f2a1b0c-9d8e-4f7a-8b6c-5d4e3f2a1b0c",
        "the heroku key is missing",
        "sentry issue 9775a026f1ca7d1c6c5af9d94d9595a4",
    ]);
}
