//! The console as those meet it who ask over a socket: what each route says, what is refused, what nobody is shown.
#![cfg(feature = "console")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "console/client.rs"]
mod client;
#[path = "console/door.rs"]
mod door;
#[path = "support/folder.rs"]
mod folder;
#[path = "console/health.rs"]
mod health;
#[path = "console/letters.rs"]
mod letters;
#[path = "console/tail.rs"]
mod tail;
#[path = "support/until.rs"]
mod until;

use axum::Router;
use nervebus::console::{self, Console};
use nervebus::{Bus, PrometheusText, json};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use self::client::{Served, ask};

#[test]
fn figures_and_graph_are_those_of_the_bus() {
    let bus = Bus::builder().build().unwrap();
    bus.on("order.*").name("store").inline().handle(|_| ()).unwrap();
    let served = Served::of(Console::of(&bus));
    bus.emit("order.placed", json!({})).unwrap();
    bus.emit("mail.queued", json!({})).unwrap();

    let stats = served.get("/stats").json();
    assert_eq!((&stats["emitted"], &stats["ledger"]["balanced"]), (&json!(2), &json!(true)));
    assert_eq!(stats["subscriptions"][0]["name"], "store");
    let metrics = served.get("/metrics");
    assert!(metrics.body.contains("nervebus_events_emitted_total 2\n"), "{}", metrics.body);
    assert!(metrics.head.contains(&format!("content-type: {}\r\n", PrometheusText::CONTENT_TYPE)), "{}", metrics.head);

    let topology = served.get("/topology").json();
    assert_eq!(topology["handlers"][0]["topics"], json!(["order.placed"]));
    assert_eq!(topology["fingerprint"], format!("{:016x}", bus.topology().fingerprint()));
    let finding = &topology["findings"][0];
    assert_eq!((&finding["finding"], &finding["topic"]), (&json!("orphan"), &json!("mail.queued")));
    assert_eq!(finding["message"], r#"nobody listens to topic "mail.queued""#);
    assert_eq!(served.get("/topology?format=dot").body, bus.topology().to_dot());
    assert_eq!(served.get("/topology?format=mermaid").body, bus.topology().to_mermaid());
}

#[test]
fn who_only_looks_on_is_not_in_the_graph() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    let _tail = served.tail("");
    bus.emit("order.placed", json!({})).unwrap();
    assert_eq!(bus.topology().handlers.len(), 1);
    let topology = served.get("/topology").json();
    assert_eq!(topology["handlers"], json!([]));
    assert_eq!(topology["findings"][0]["finding"], "orphan", "a reader is nobody who listens");
}

#[test]
fn the_page_is_a_few_files_that_ask_for_nothing_from_elsewhere() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    let script = "text/javascript";
    for (path, kind) in [("/", "text/html"), ("/page.js", script), ("/picture.js", script), ("/page.css", "text/css")] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}; charset=utf-8\r\n")), "{}", answer.head);
        // The name of a language is no address, and what begins with '#' is in the page itself.
        let text = answer.body.replace("http://www.w3.org/2000/svg", "").replace("url(#", "");
        assert!(!text.contains("://") && !text.contains("url(") && !text.contains("@import"), "{path}");
    }
}

#[test]
fn every_answer_says_what_browsers_may_do_with_it() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    for path in ["/", "/page.js", "/stats", "/health", "/nothing", "/dead-letters/x", "/dead-letters/retry"] {
        let head = served.get(path).head;
        for header in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(&format!("\r\n{header}")), "{path} lacks {header}: {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_says_why() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    for (path, status, why) in [
        ("/nothing", 404, "there is nothing here"),
        ("/dead-letters/7", 404, "there is no dead letter 7"),
        ("/dead-letters/seven", 400, "id \"seven\" is not a number"),
        ("/dead-letters/-1", 400, "id \"-1\" is not a number"),
        ("/dead-letters?limit=many", 400, "limit \"many\" is not a number"),
        ("/dead-letters?reason=mood", 400, "there is no reason \"mood\"; there is handler_error, "),
        ("/dead-letters?topic=order.", 400, "pattern \"order.\": "),
        ("/dead-letters?patern=x", 400, "there is no parameter \"patern\" here; there is topic, reason, "),
        ("/dead-letters?topic=a&topic=b", 400, "the parameter \"topic\" is there twice"),
        ("/dead-letters?topic=%zz", 400, "the query has a '%' without two hexadecimal digits"),
        ("/dead-letters?topic=%2", 400, "the query has a '%' without two hexadecimal digits"),
        ("/dead-letters?topic=%ff", 400, "the query is not UTF-8"),
        ("/topology?format=png", 400, "there is no format \"png\"; there is json, dot, mermaid"),
        ("/events?pattern=order.", 400, "pattern \"order.\": "),
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.error().starts_with(why), "{path}: {answer:?}");
    }
    for (method, path) in
        [("POST", "/stats"), ("DELETE", "/dead-letters"), ("PUT", "/"), ("GET", "/dead-letters/1/retry")]
    {
        let answer = ask(served.address, method, path, "Host: localhost\r\n", "");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.error(), "this is not done with this method");
        assert!(answer.head.contains("\r\nallow: "), "{}", answer.head);
    }
}

#[test]
fn a_bus_that_is_gone_is_503_and_was_not_kept_alive() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus).token(client::TOKEN).unwrap());
    let mut tail = served.tail("");
    let weak = bus.downgrade();
    bus.emit("last.words", json!({})).unwrap();
    drop(bus);
    assert!(weak.upgrade().is_none());
    assert_eq!(tail.event()["event_type"], "last.words");
    assert_eq!(tail.next(), Some(("end".into(), json!({}))));
    assert_eq!(tail.next(), None);
    for path in ["/health", "/metrics", "/stats", "/topology", "/dead-letters", "/dead-letters/1", "/events"] {
        let answer = served.get(path);
        assert_eq!((answer.status, &*answer.error()), (503, "the bus is gone"), "{path}");
    }
    assert_eq!(served.change("POST", "/dead-letters/1/retry", "").status, 503);
    assert_eq!(served.get("/health/live").status, 200);
    assert_eq!(served.get("/").status, 200, "and the page can say so");
}

#[test]
fn a_console_works_wherever_it_is_mounted() {
    let bus = Bus::builder().build().unwrap();
    let router = Router::new()
        .nest("/ops/bus", console::router(&bus))
        .nest_service("/other", console::router(&bus))
        .nest("/deep/", console::router(&bus));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async { axum::serve(listener, router).await });
    for (page, base) in [("/ops/bus", "./bus/"), ("/other", "./other/"), ("/other/", "./"), ("/deep/", "./")] {
        let answer = ask(address, "GET", page, "", "");
        assert_eq!(answer.status, 200, "{page}");
        assert!(answer.body.contains(&format!(r#"<base href="{base}">"#)), "{page}: {}", answer.body);
        // What a browser makes of it.
        let folder = &page[..=page.rfind('/').unwrap()];
        let stats = ask(address, "GET", &format!("{folder}{}stats", base.trim_start_matches("./")), "", "");
        assert_eq!(stats.json()["emitted"], 0);
    }
    assert_eq!(ask(address, "GET", "/ops/bus/nothing", "", "").error(), "there is nothing here");
    assert_eq!(ask(address, "POST", "/ops/bus/dead-letters/1/retry", "", "").status, 403, "read-only by default");
}
