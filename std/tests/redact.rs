//! What the redactor finds in text, class by class, and what it leaves alone.

use nervebus::{DataClass, Redactor};

/// Redacts `text` and asserts that `value` is gone, and only it, under the marker of `class`.
fn assert_gone(class: DataClass, text: &str, value: &str) {
    let at = text.find(value).unwrap_or_else(|| panic!("{value:?} is not in {text:?}"));
    let (before, behind) = (&text[..at], &text[at + value.len()..]);
    let expected = format!("{before}[REDACTED_{}]{behind}", class.name());
    assert_eq!(Redactor::default().redact(text), expected, "{class:?} in {text:?}");
}

/// The same for values that are the whole text, in the middle of a sentence and in the fields of a log line.
fn assert_found(class: DataClass, values: &[&str]) {
    for value in values {
        assert_gone(class, value, value);
        assert_gone(class, &format!("It was {value}, they said."), value);
        assert_gone(class, &format!("level=info msg=\"got <{value}>\" n=1"), value);
    }
}

fn assert_untouched(texts: &[&str]) {
    for text in texts {
        assert_eq!(Redactor::default().redact(text), *text);
    }
}

#[test]
fn emails_are_found() {
    let values = [
        "maria.silva@example.org",
        "m@x.io",
        "MARIA@EXAMPLE.ORG",
        "first.last+tag@mail.sub.example.co.uk",
        "o'neil@example.ie",
        "user_name-1@ex-ample.museum",
        "1234567890@example.net",
        "______@example.com",
        "maria@bücher.example",
        "x@xn--bcher-kva.example",
        "user%dept@example.org",
        "postmaster@[192.0.2.1]",
    ];
    assert_found(DataClass::Email, &values);
    assert_gone(DataClass::Email, "mailto:maria@example.org?subject=hi", "maria@example.org");
    assert_gone(DataClass::Email, "to=<maria@example.org>, relay=mx", "maria@example.org");
    assert_gone(DataClass::Email, "Write to maria@example.org.", "maria@example.org");
    assert_gone(DataClass::Email, "写信给maria@example.org。", "写信给maria@example.org");
    assert_gone(
        DataClass::GcpServiceAccount,
        "as app@project-1.iam.gserviceaccount.com",
        "app@project-1.iam.gserviceaccount.com",
    );
    assert_untouched(&[
        "meet @ noon",
        "@handle said",
        "a@b",
        "npm i lodash@4.17.21",
        "@types/node@20.1.0",
        "git@example.com:org/repo.git",
        "user@host",
        "x@.com",
        "a@b..c",
    ]);
}

#[test]
fn cards_are_found_by_issuer_length_and_check_digit() {
    let values = [
        "4556737586899855",
        "4556-7375-8689-9855",
        "4556 7375 8689 9855",
        "4556.7375.8689.9855",
        "5425233430109903",
        "2223 0000 4841 0010",
        "378282246310005",
        "3782 822463 10005",
        "3782-822463-10005",
        "6011722098735213",
        "30514722908161",
        "3051 472290 8161",
        "38520000023237",
        "3566002020360505",
        "6200000000000005",
        "6304000000000000",
        "4222222222222",
        "6759649826438453",
    ];
    assert_found(DataClass::Card, &values);
    assert_gone(DataClass::Card, "card 676770000005 is lost", "676770000005");
    let two = "5425233430109903 4556-7375-8689-9855";
    assert_eq!(Redactor::default().redact(two), "[REDACTED_CREDIT_CARD] [REDACTED_CREDIT_CARD]");
    assert_untouched(&[
        "4556737586899856",
        "1234567812345670",
        "4556-7375-8689",
        "9556737586899855",
        "ts=1700000000000",
        "1700000000000000000",
        "0000000000000000",
        "978-0-306-40615-7",
        "order 305-4128834-4556737",
        "41111111-1111-1111-1111-111111111111",
        "a4556737586899855",
        "id_4556737586899855",
        "card that ends in 9855",
    ]);
}

#[test]
fn social_security_numbers_are_found() {
    assert_found(DataClass::Ssn, &["219-09-9998", "219 09 9998", "219.09.9998", "899-12-3456"]);
    assert_gone(DataClass::Ssn, "SSN 219099998 on file", "219099998");
    assert_untouched(&[
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "219-00-9998",
        "219-09-0000",
        "1219-09-9998",
        "219-09-99981",
        "219-09.9998",
        "219099998",
        "219-09-9998-1",
        "7-219-09-9998",
    ]);
}

#[test]
fn phone_numbers_are_found() {
    let values = [
        "+442079460018",
        "+44 20 7946 0018",
        "+44 (0)20 7946 0018",
        "+49-30-901820",
        "+33 1 23 45 67 89",
        "+1 (212) 555-0187",
        "+1.212.555.0187",
        "+12125550187",
        "+91 98765 43210",
        "+61 2 5550 4321",
        "+358 40 1234567",
        "(212) 555-0187",
        "(212)555-0187",
        "212-555-0187",
        "212.555.0187",
        "1-212-555-0187",
        "1 (212) 555-0187",
        "212-555-0187 x12",
        "212-555-0187x3456",
        "(212) 555-0187 ext. 9",
        "001-212-555-0187",
        "0049 30 901820",
        "011 44 20 7946 0018",
        "020 7946 0018",
        "06 12 34 56 78",
        "+442079460018x456",
        "(141)664-0187",
        "123-456-7890",
    ];
    assert_found(DataClass::Phone, &values);
    for text in [
        "call 5550187 now",
        "Phone: 2125550187",
        "my mobile is 79 555 0187",
        "Fax 030/901820",
        "reach me at 0171 5550187",
    ] {
        let value = text.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(" now");
        assert_gone(DataClass::Phone, text, value);
    }
    assert_gone(DataClass::Phone, "2125550187-Office", "2125550187");
    assert_gone(DataClass::Phone, "tel:+1-212-555-0187", "+1-212-555-0187");
    assert_untouched(&[
        "2024-03-01 12:00:00",
        "2024-03-01T12:00:00+0200",
        "12/31/2024",
        "order 2125550187",
        "id=2125550187",
        "1.2.3+20240301120000",
        "+1",
        "+0 123 4567",
        "call order 12345678",
        "3.1415926535",
        "0 00 123456 7",
        "1,234,567.89",
        "page 12 of 3456",
        "call me at 10:30",
    ]);
}

#[test]
fn ip_addresses_are_found() {
    assert_found(DataClass::Ipv4, &["203.0.113.7", "10.0.0.1", "255.255.255.255", "192.168.001.020"]);
    assert_gone(DataClass::Ipv4, "http://203.0.113.7:8080/x", "203.0.113.7");
    assert_gone(DataClass::Ipv4, "/203.0.113.7:443", "203.0.113.7");
    assert_gone(DataClass::Ipv4, "203.0.113.0/24", "203.0.113.0");
    let six = [
        "2001:db8::7",
        "2001:db8:0:1:1:1:1:1",
        "fe80::1%eth0",
        "::1",
        "::ffff:203.0.113.7",
        "64:ff9b::203.0.113.7",
        "2001:DB8:85A3::8A2E:370:7334",
        "1::",
        "2001:db8::",
    ];
    assert_found(DataClass::Ipv6, &six);
    assert_gone(DataClass::Ipv6, "[2001:db8::7]:443", "2001:db8::7");
    assert_gone(DataClass::Ipv6, "source:2001:db8::7", "2001:db8::7");
    assert_gone(DataClass::Ipv6, "2001:db8::/32", "2001:db8::");
    assert_found(DataClass::Mac, &["00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7"]);
    assert_untouched(&[
        "256.1.1.1",
        "1.2.3",
        "1.2.3.256",
        "v1.2.3.4",
        "version 1.2.3.4",
        "Chrome/120.0.0.0",
        "1.3.6.1.4.1.311",
        "12:34:56",
        "std::vec",
        "a::b::c",
        "dead::beef",
        "Foo::Bar",
        "1::2::3",
        "12345::1",
        "1:2:3:4:5:6:7:8:9",
        "00:1b:44:11:3a",
        "10.1",
        "x.1.2.3.4",
    ]);
}

#[test]
fn ibans_are_found_by_country_length_and_check_digits() {
    assert_found(
        DataClass::Iban,
        &[
            "GB82WEST12345698765432",
            "GB82 WEST 1234 5698 7654 32",
            "DE89370400440532013000",
            "de89 3704 0044 0532 0130 00",
            "NO9386011117947",
        ],
    );
    assert_untouched(&[
        "GB82WEST12345698765433",
        "GB82WEST123456987654",
        "ZZ82WEST12345698765432",
        "DE893704004405320130001",
    ]);
}

#[test]
fn keys_of_clouds_are_found() {
    assert_found(DataClass::AwsAccessKey, &["AKIAQ3EGRZ7WPXN2TVUM", "ASIAQ3EGRZ7WPXN2TVUM", "ABIAQ3EGRZ7WPXN2TVUM"]);
    assert_found(DataClass::AwsSecret, &["wJ4lrXUtnFEMI/K7MDENG/bPxRfiCY9EXAMPLEKEY"].map(|key| &key[..40]));
    assert_found(
        DataClass::AwsArn,
        &[
            "arn:aws:iam::123456789012:role/app",
            "arn:aws-cn:s3:::logs/2024/*",
            "arn:aws:sqs:eu-west-1:123456789012:queue",
        ],
    );
    assert_found(DataClass::GcpApiKey, &["AIzaSyA-1b2C3d4E5f6G7h8I9j0KlMnOpQrStUv"]);
    assert_found(
        DataClass::GcpOauth,
        &["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", "ya29.a0AfH6SMBx1234567890abcdef_GHI-jkl"],
    );
    assert_untouched(&[
        "AKIA and ASIA stand first",
        "XAKIAQ3EGRZ7WPXN2TVUM",
        "AKIAQ3EGRZ7WPXN2TVUMX",
        "arn:aws",
        "arn:x:y",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "/usr/share/doc/package/examples/Config12",
        "AIzaShort",
    ]);
}

#[test]
fn tokens_are_found() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiIsIm4iOjF9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_found(DataClass::Jwt, &[jwt, "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiIsIm4iOjF9"]);
    let body = "16C7e42F292c6912E7710c838347Ae178B4a";
    for kind in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"] {
        assert_found(DataClass::GithubToken, &[&format!("{kind}{body}")]);
    }
    assert_found(DataClass::GithubToken, &[&format!("github_pat_11ABCDEFG0{body}_{body}{body}")]);
    for kind in ["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glimt-", "glagent-"] {
        assert_found(DataClass::GitlabToken, &[&format!("{kind}x1Y2z3A4b5C6d7E8f9G0")]);
    }
    assert_found(
        DataClass::SlackToken,
        &[
            "xoxb-2469135780-abcdefGHIJ",
            "xoxp-1-2-3-0123456789ab",
            "xoxe.xoxp-1-Mi0yLTk4NzY1NDMyMTA",
            "xapp-1-A01B2C3D4E5-1234567890-abcdef0123",
        ],
    );
    let hook = "T0AB12CD3/B0EF45GH6/a1B2c3D4e5F6g7H8i9J0k1L2";
    assert_gone(DataClass::SlackToken, &format!("POST https://hooks.slack.com/services/{hook} failed"), hook);
    let modes = ["sk_live_", "sk_test_", "rk_live_", "pk_test_", "whsec_"];
    modes.iter().for_each(|mode| assert_found(DataClass::StripeKey, &[&format!("{mode}4eC39HqLyjWDarjtT1zdp7dc")]));
    assert_found(
        DataClass::ApiToken,
        &[
            "npm_0123456789abcdefghijABCDEFGHIJ012345",
            "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",
            "sk-ant-api03-aB3dE5fG7hI9jK1lM3nO5p",
        ],
    );
    assert_untouched(&[
        "ghp_short",
        "sk-loading-indicator-of-the-whole-page",
        "xox-large",
        "glpat-x",
        "sk_live_",
        "eyJ",
        "ghx_16C7e42F292c6912E7710c838347Ae178B4a",
        "seti_0Abc12D3EF45ghiJKlmNop6Q",
    ]);
}

#[test]
fn headers_are_found() {
    for text in [
        "Authorization: Bearer aB3dE5fG7hI9",
        "authorization=bearer aB3dE5fG7hI9",
        "curl -H 'Authorization: Bearer aB3dE5fG7hI9'",
    ] {
        assert_gone(DataClass::Bearer, text, "aB3dE5fG7hI9");
    }
    assert_gone(DataClass::BasicAuth, "Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz");
    assert_gone(DataClass::BasicAuth, "sent Basic dXNlcjpwYXNzd29yZA== once", "dXNlcjpwYXNzd29yZA==");
    assert_untouched(&[
        "a bearer of news",
        "the basic idea is simple",
        "Basic authentication",
        "Bearer token",
        "Basic Instinct",
    ]);
}

#[test]
fn passwords_in_urls_are_found_and_the_host_stays() {
    let urls = [
        ("postgres://app:s3cr3t@db:5432/x", "s3cr3t"),
        ("redis://:p4ss@cache:6379/0", "p4ss"),
        ("https://u:p%40ss@example.com/a?b=c", "p%40ss"),
        ("amqp://guest:guest@mq", "guest@"),
        ("mongodb+srv://a:b@c@host/db", "b@c"),
        ("ftp://u:pa/ss@example.com", "pa/ss"),
    ];
    for (url, password) in urls {
        let redacted = Redactor::default().redact(url).into_owned();
        let host = &url[url.rfind('@').unwrap()..];
        assert!(redacted.ends_with(&format!("[REDACTED_URL_PASSWORD]{host}")), "{url} became {redacted}");
        assert!(!redacted.contains(&format!(":{password}")), "{url} became {redacted}");
    }
    assert_untouched(&[
        "https://example.com:8080/a@b",
        "postgres://db:5432/x",
        "https://$USER:$PASSWORD@host/",
        "http://user:***@host/",
        "https://example.com/@user",
    ]);
}

#[test]
fn private_keys_are_found_from_begin_to_end() {
    for kind in ["RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "] {
        let key = format!(
            "-----BEGIN {kind}PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nq83vEjRWeJA=\n-----END {kind}PRIVATE KEY-----"
        );
        assert_gone(DataClass::PrivateKey, &format!("before\n{key}\nafter"), &key);
    }
    let cut = "-----BEGIN PRIVATE KEY-----\\nMIIEpAIBAAKCAQEA";
    assert_gone(DataClass::PrivateKey, cut, cut);
    assert_untouched(&["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"]);
}

#[test]
fn long_base64_and_hexadecimal_is_found() {
    let base64 = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQAB==";
    let url_safe = "q83v-jRWeJCrze8S_FZ4kKvN7xI0VniQq83vEjRW-JCrze8SNFZ4kKvN7xI0VniQABcd";
    assert_found(DataClass::Base64, &[base64, url_safe]);
    assert_found(DataClass::Hex, &["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]);
    assert_untouched(&[
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "\"hash\": \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
        "7a1c98ee56343ba864fe8b2a57d3e0f1-a157b5a2e4d86c02-1-05e3ac9a4f6e3b9005e3ac9a4f6e3b90",
        "/a/very/long/path/that/goes/on/and/on/through/many/folders/to/a/file/in/the/end/2024",
        "a-very-long-slug-that-somebody-gave-to-an-article-about-redaction-in-2024-and-later",
        "5eb63bbbe01eeed093cb22bb8f5acdc3",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "1111111111111111111111111111111111111111111111111111111111111111111111",
    ]);
}

#[test]
fn secrets_behind_keys_in_prose_are_found() {
    for key in [
        "password",
        "PASSWORD",
        "db_password",
        "dbPassword",
        "passwd",
        "pwd",
        "api_key",
        "apiKey",
        "API-KEY",
        "secret",
        "client_secret",
        "AUTH_TOKEN",
        "x-api-key",
    ] {
        for (before, behind) in [
            ("=", ""),
            (": ", ""),
            (" = \"", "\""),
            (": '", "'"),
            (" := `", "`"),
            (" => \"", "\";"),
            ("=\"", "\" other=1"),
            ("=", "&page=2"),
            ("=", "; x"),
        ] {
            assert_gone(DataClass::Secret, &format!("{key}{before}hunter2-Xq9{behind}"), "hunter2-Xq9");
        }
    }
    assert_gone(DataClass::Secret, "setProperty(\"API_TOKEN\", \"hunter2-Xq9\")", "hunter2-Xq9");
    assert_gone(DataClass::Secret, "<add key=\"Password\" value=\"hunter2-Xq9\"/>", "hunter2-Xq9");
    assert_gone(DataClass::Secret, "var token string = \"hunter2-Xq9\"", "hunter2-Xq9");
    assert_gone(DataClass::Secret, "GET /cb?session_id=hunter2Xq9&page=2", "hunter2Xq9");
    assert_gone(DataClass::Secret, "user=bob&phone=hunter2Xq9&x=1", "hunter2Xq9");
    assert_gone(DataClass::Secret, "{\\\"password\\\": \\\"hunter2-Xq9\\\"}", "hunter2-Xq9");
    assert_untouched(&[
        "password: ${PASSWORD}",
        "password=$PASSWORD",
        "token: {{ token }}",
        "password = os.getenv(\"X\")",
        "secret: <secret>",
        "password: ********",
        "the password is wrong",
        "token_type: Bearer",
        "api_key_count: 12",
        "token_expiry=3600",
        "the key to the cellar",
        "passwordField = null",
        "secretName: db",
        "max_tokens=4096",
        "key=value",
        "tokenizer: fast",
        "password",
        "password:",
        "auth=false",
        "monkey=banana7",
        "password_policy: strong1",
    ]);
}

#[test]
fn the_most_specific_class_names_the_value() {
    let token = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    assert_gone(DataClass::GithubToken, &format!("token = \"{token}\""), token);
    assert_gone(DataClass::UrlPassword, "https://app:maria@example.org/", "maria");
    let both = "a@example.org,b@example.org;203.0.113.7";
    assert_eq!(Redactor::default().redact(both), "[REDACTED_EMAIL],[REDACTED_EMAIL];[REDACTED_IPV4]");
}
