//! Who may come, and who may change something.

use nervebus::console::{Console, ConsoleError};
use nervebus::{Bus, json};

use crate::client::{Served, TOKEN, ask};

/// What changes something.
const CHANGES: [(&str, &str, &str); 4] = [
    ("POST", "/dead-letters/1/retry", ""),
    ("DELETE", "/dead-letters/1", ""),
    ("POST", "/dead-letters/retry", "{}"),
    ("POST", "/dead-letters/purge", r#"{"all":true}"#),
];

/// A bus with one dead letter, whose handler has failed once.
fn bus() -> Bus {
    let bus = Bus::builder().dead_letters(10).build().unwrap();
    bus.on("order.placed").inline().handle(|_| Err::<(), _>("no stock")).unwrap();
    bus.emit("order.placed", json!({})).unwrap();
    bus
}

fn is_untouched(bus: &Bus) -> bool {
    bus.dead_letters().get(1).is_some_and(|letter| letter.retries == 0)
}

#[test]
fn without_a_token_nothing_can_be_changed() {
    let bus = bus();
    let served = Served::of(Console::of(&bus));
    for (method, path, body) in CHANGES {
        let answer = served.change(method, path, body);
        assert_eq!(answer.status, 403, "{method} {path}");
        assert_eq!(answer.error(), "this console has no token, so nothing can be changed");
    }
    assert!(is_untouched(&bus));
}

#[test]
fn with_a_token_only_who_shows_it_changes_something() {
    let bus = bus();
    let served = Served::of(Console::of(&bus).token(TOKEN).unwrap());
    let (short, long) = (&TOKEN[..TOKEN.len() - 1], format!("{TOKEN}x"));
    let last = format!("{short}x");
    let given = [
        String::new(),
        "Authorization: Bearer\r\n".into(),
        "Authorization: Bearer \r\n".into(),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: Bearer {short}\r\n"),
        format!("Authorization: Bearer {long}\r\n"),
        format!("Authorization: Bearer {last}\r\n"),
        format!("Authorization: Bearer {}\r\n", TOKEN.to_uppercase()),
        format!("Cookie: token={TOKEN}\r\n"),
    ];
    for headers in given {
        for (method, path, body) in CHANGES {
            let path = format!("{path}?token={TOKEN}");
            let answer = ask(served.address, method, &path, &format!("Host: localhost\r\n{headers}"), body);
            assert_eq!(answer.status, 401, "{method} {path} with {headers:?}");
            assert!(answer.head.contains("www-authenticate: bearer\r\n"), "{}", answer.head);
            assert!(!answer.body.contains(TOKEN), "{answer:?}");
        }
    }
    assert!(is_untouched(&bus));
    let answer = served.change("DELETE", "/dead-letters/1", "");
    assert_eq!((answer.status, answer.json()), (200, json!({"purged": 1})));
    assert!(bus.dead_letters().is_empty());
}

#[test]
fn a_page_from_elsewhere_is_not_allowed_to_send_the_token() {
    let bus = bus();
    let served = Served::of(Console::of(&bus).token(TOKEN).unwrap());
    let headers = "Host: localhost\r\nOrigin: https://example.net\r\nAccess-Control-Request-Method: POST\r\n\
        Access-Control-Request-Headers: authorization\r\n";
    let answer = ask(served.address, "OPTIONS", "/dead-letters/1/retry", headers, "");
    assert_eq!(answer.status, 405);
    assert!(!answer.head.contains("access-control-allow"), "{}", answer.head);
}

#[test]
fn a_weak_token_is_refused_and_no_token_is_shown() {
    let bus = Bus::builder().build().unwrap();
    let error = Console::of(&bus).token("fifteen-bytes-x").unwrap_err();
    assert!(matches!(error, ConsoleError::TokenTooShort { length: 15, min: 16 }), "{error:?}");
    assert_eq!(error.to_string(), "the console's token has 15 bytes; it needs 16 at least");
    for token in ["sixteen bytes are", "sixteen-bytes-\u{e9}-are", "sixteen-bytes-are\n"] {
        let error = Console::of(&bus).token(token).unwrap_err();
        assert!(matches!(error, ConsoleError::TokenNotPrintable), "{error:?}");
    }
    let console = Console::of(&bus).token(TOKEN).unwrap();
    assert!(!format!("{console:?}").contains("0123456789abcdef"), "{console:?}");
}

#[test]
fn a_name_that_is_not_its_own_is_refused() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus).host("console.example.net"));
    let status = |headers: &str| ask(served.address, "GET", "/stats", headers, "").status;
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "127.9.9.9", "Console.Example.net:443"] {
        assert_eq!(status(&format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in [
        "example.net",
        "localhost.example.net",
        "127.0.0.1.example.net",
        "127.0.0.1@example.net",
        "x@127.0.0.1",
        "192.0.2.1",
        "0.0.0.0",
        "",
        "a b",
    ] {
        assert_eq!(status(&format!("Host: {host}\r\n")), 421, "{host}");
    }
    assert_eq!(status(""), 421, "none at all");
    assert_eq!(status("Host: localhost\r\nHost: example.net\r\n"), 421, "two of them");
    assert_eq!(ask(served.address, "GET", "/", "Host: example.net\r\n", "").status, 421, "the page as well");
}

#[test]
fn other_machines_reach_it_only_where_they_may() {
    let bus = Bus::builder().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let error = Console::of(&bus).serve(([0, 0, 0, 0], 0)).await.unwrap_err();
        assert_eq!(error.to_string(), "other machines reach 0.0.0.0:0: the console needs `allow_remote` for that");
        let server = Console::of(&bus).allow_remote().serve(([0, 0, 0, 0], 0)).await.unwrap();
        let error = Console::of(&bus).allow_remote().serve(server.address()).await.unwrap_err();
        assert!(matches!(error, ConsoleError::Bind { address, .. } if address == server.address()), "{error:?}");
        assert!(server.shutdown(crate::client::GUARD).await);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Console::of(&bus).allow_remote().serve(([0, 0, 0, 0], 0))).unwrap();
    let address = ([127, 0, 0, 1], server.address().port()).into();
    let status = |host: &str| ask(address, "GET", "/stats", &format!("Host: {host}\r\n"), "").status;
    assert_eq!((status("192.0.2.1:80"), status("localhost"), status("example.net")), (200, 200, 421));
}
