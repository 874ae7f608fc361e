//! The console's page in a real browser: it loads, its numbers move, the tail is filtered, a dead letter goes back.
//!
//! Where Chromium is not installed (Debian: `apt-get install chromium`) a test says so and ends; with
//! `NERVEBUS_SERVERS=required` in the environment, as in CI, that is a failure.
#![cfg(feature = "console")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a browser needs files and a process of its own")]

#[path = "console/browser.rs"]
mod browser;
#[path = "support/folder.rs"]
mod folder;

use std::env;
use std::net::Ipv4Addr;

use axum::Router;
use nervebus::console::{self, Console, ConsoleServer};
use nervebus::{Bus, Event, Lane, Timing, json};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use self::browser::Browser;

const TOKEN: &str = "a-token-for-the-browser";

#[derive(Event, Serialize)]
#[event(topic = "order.placed", emits("mail.queued"))]
struct OrderPlaced {
    id: u64,
}

/// A bus whose handler of mail fails at first, behind a console.
struct Shop {
    bus: Bus,
    runtime: Runtime,
    server: ConsoleServer,
}

impl Shop {
    fn open() -> Self {
        let lane = Lane::new("parcels").capacity(64);
        let bus = Bus::builder().lane(lane).dead_letters(20).timing(Timing::Every).build().unwrap();
        bus.topic::<OrderPlaced>().unwrap().on().name("store").lane("parcels").handle(|_, _| ()).unwrap();
        let smtp = |mail: &Event<'_>| if mail.attempt() == 1 { Err("no route to alice@example.net") } else { Ok(()) };
        bus.on("mail.*").name("smtp").inline().handle(smtp).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let console = Console::of(&bus).token(TOKEN).unwrap();
        let server = runtime.block_on(console.serve((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self { bus, runtime, server }
    }

    fn order(&self, events: u64) {
        let mut topic = self.bus.topic().unwrap();
        for id in 0..events {
            topic.emit(OrderPlaced { id }).unwrap();
        }
    }

    fn address(&self) -> String {
        format!("http://{}/", self.server.address())
    }
}

/// A browser at the shop's console; `None`, and a notice, where there is no browser.
fn browser_at(shop: &Shop) -> Option<Browser> {
    let Some(mut browser) = Browser::start() else {
        assert_ne!(env::var("NERVEBUS_SERVERS").as_deref(), Ok("required"), "chromium is not installed");
        eprintln!("not checked: chromium is not installed");
        return None;
    };
    browser.size(1440, 844);
    browser.open(&shop.address());
    browser.until("document.getElementById('ready').textContent === '✓ ready'");
    Some(browser)
}

/// An expression: the text of the element with this id.
fn text(id: &str) -> String {
    format!("document.getElementById('{id}').textContent")
}

#[test]
fn numbers_move_and_everything_comes_from_the_bus() {
    let shop = Shop::open();
    let Some(mut browser) = browser_at(&shop) else { return };
    browser.until(&format!("{} === '0 in all' && {} === '✓ ledger balanced'", text("emitted-total"), text("ledger")));
    shop.order(50);
    browser.until(&format!("{} === '50 in all' && {} !== '0/s'", text("emitted-total"), text("emitted")));
    browser.until("document.querySelector('#handlers tr').innerText.includes('store')");
    browser.until("document.querySelector('#handlers tr').children[2].textContent === '50'");
    shop.order(30);
    browser.until(&format!("{} === '80 in all'", text("handled-total")));
    browser.until("document.querySelectorAll('#throughput .line.first').length === 2");
    browser
        .until("document.querySelectorAll('#throughput svg[role=img] .line.first')[0].getAttribute('d').includes('L')");
    browser.until("document.querySelector('#lanes [role=meter][aria-label$=parcels]').ariaValueMax === '64'");
    browser.until(
        "[...document.querySelectorAll('#topology .topic .name')].some(name => name.textContent === 'mail.queued')",
    );
    browser.until("document.querySelectorAll('#topology path.cause').length === 1");
    shop.bus.emit("nobody.listens", json!({})).unwrap();
    browser.until(&format!("{}.includes('nobody listens to topic \"nobody.listens\"')", text("findings")));

    let elsewhere =
        "performance.getEntriesByType('resource').filter(one => !one.name.startsWith(location.origin)).length";
    assert_eq!(browser.run(elsewhere), 0);
    assert_eq!(browser.complaints(), [""; 0]);
    shop.bus.shutdown(std::time::Duration::from_secs(5));
    browser.until(&format!("{} === '✗ not ready' && {}.includes('shut down')", text("ready"), text("reasons")));
}

#[test]
fn the_tail_shows_what_its_pattern_asks_for_and_nothing_as_markup() {
    let shop = Shop::open();
    let Some(mut browser) = browser_at(&shop) else { return };
    let topics = "[...document.querySelectorAll('#events b')].map(topic => topic.textContent).join()";
    let follow = |browser: &mut Browser, pattern: &str| {
        browser.type_into("pattern", pattern);
        browser.press("Enter", 13, "\r");
        browser.until(&format!("{} === 'following {pattern}'", text("tail-state")));
    };
    assert_eq!(shop.bus.stats().subscriptions.len(), 2, "nothing is followed unless somebody asks for it");
    follow(&mut browser, "order.*");
    shop.bus.emit("mail.queued", json!({})).unwrap();
    shop.order(3);
    browser.until(&format!("{topics} === 'order.placed,order.placed,order.placed'"));
    follow(&mut browser, "page.*");
    let trick = "<img src=x onerror=document.body.remove()><script>document.body.remove()</script>";
    shop.order(1);
    shop.bus.emit("page.seen", json!({"text": trick, "email": "alice@example.net"})).unwrap();
    browser.until(&format!("{topics} === 'page.seen'"));
    let body = browser.run("document.querySelector('#events .body').textContent");
    assert_eq!(body, json!({"text": trick, "email": "[REDACTED_EMAIL]"}).to_string());
    assert_eq!(browser.run("document.querySelectorAll('main img, main script').length"), 0);

    browser.click("#pause");
    shop.bus.emit("page.left", json!({})).unwrap();
    browser.until(&format!("{} === 'paused, 1 more'", text("tail-state")));
    assert_eq!(browser.run(topics), "page.seen");
    browser.click("#pause");
    browser.until(&format!("{topics} === 'page.left,page.seen'"));
    browser.click("#stop");
    browser.until(&format!("{} === ''", text("tail-state")));

    browser.type_into("pattern", "order.");
    browser.press("Enter", 13, "\r");
    browser.until(&format!("{}.startsWith('pattern \"order.\": ')", text("tail-said")));
}

#[test]
fn a_dead_letter_goes_back_to_its_handler_for_those_with_the_token() {
    let shop = Shop::open();
    shop.bus.emit("mail.queued", json!({"to": "alice@example.net"})).unwrap();
    shop.bus.emit("mail.queued", json!({"to": "bob@example.net"})).unwrap();
    let Some(mut browser) = browser_at(&shop) else { return };
    browser.until("document.querySelectorAll('#letters .letter').length === 2");
    let letters = browser.run(&text("letters"));
    assert!(letters.as_str().unwrap().contains("no route to [REDACTED_EMAIL]"), "{letters}");
    let retry = "[aria-label='Retry dead letter 1']";

    browser.click(retry);
    browser.until(&format!("{}.includes('Type the console’s token first')", text("letters-said")));
    browser.type_into("token", "not-the-token-of-this-one");
    browser.click(retry);
    browser.until(&format!("{} === 'this is not the console\\'s token'", text("letters-said")));
    assert_eq!(shop.bus.dead_letters().len(), 2);
    assert_eq!(browser.complaints().len(), 1, "the browser tells of the refusal");

    browser.type_into("token", TOKEN);
    browser.click(retry);
    browser.until("document.querySelectorAll('#letters .letter').length === 1");
    assert_eq!((shop.bus.dead_letters().retried(), shop.bus.dead_letters().get(1).is_none()), (1, true));
    let purge = "[aria-label$='urge dead letter 2']";
    browser.click(purge);
    browser.until("document.querySelector('#letters .danger').textContent === 'Really purge?'");
    assert_eq!(shop.bus.dead_letters().len(), 1, "asked twice");
    browser.click(purge);
    browser.until(
        "document.querySelectorAll('#letters .letter').length === 0 && !document.getElementById('no-letters').hidden",
    );
    assert_eq!(shop.bus.dead_letters().removed(), 1);
    let kept = browser.run("JSON.stringify([localStorage, sessionStorage, document.cookie])");
    assert_eq!(kept, "[{},{},\"\"]", "the token is in the page's memory only");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn it_fits_narrow_and_wide_light_and_dark_and_is_reached_by_keyboard() {
    let shop = Shop::open();
    shop.bus.emit("mail.queued", json!({})).unwrap();
    let Some(mut browser) = browser_at(&shop) else { return };
    browser.until("document.querySelectorAll('#letters .letter').length === 1");
    for width in [360, 390, 768, 1440] {
        browser.size(width, 844);
        browser.until(&format!("innerWidth === {width} && document.documentElement.scrollWidth <= {width}"));
    }
    let ground = "getComputedStyle(document.body).backgroundColor";
    browser.wish("dark");
    let dark = browser.run(ground);
    browser.wish("light");
    let light = browser.run(ground);
    assert_ne!(dark, light);
    browser.click("#theme");
    assert_eq!(browser.run(ground), dark, "the switch wins over the wish");
    browser.click("#theme");
    assert_eq!(browser.run(ground), light);

    let nameless = "[...document.querySelectorAll('button, input')].filter(one => !one.ariaLabel && !one.innerText \
        && !(one.labels && one.labels.length)).length";
    assert_eq!(browser.run(nameless), 0, "everything that can be used has a name");
    browser.run("document.activeElement.blur()");
    let mut reached = Vec::new();
    for _ in 0..40 {
        browser.press("Tab", 9, "");
        reached.push(browser.run("document.activeElement.id || document.activeElement.ariaLabel || ''"));
    }
    for wanted in ["theme", "token", "retry-all", "purge-all", "Retry dead letter 1", "pattern", "follow"] {
        assert!(reached.iter().any(|name| name == wanted), "{wanted} is not among {reached:?}");
    }
}

#[test]
fn it_works_where_a_service_has_mounted_it_and_with_nothing_to_show() {
    let shop = Shop::open();
    let Some(mut browser) = browser_at(&shop) else { return };
    let empty = Bus::builder().build().unwrap();
    let router = Router::new().nest("/ops/bus", console::router(&empty));
    let listener = shop.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    shop.runtime.spawn(async { axum::serve(listener, router).await });
    browser.open(&format!("http://{address}/ops/bus"));
    browser.until("document.getElementById('ready').textContent === '✓ ready'");
    let told = ["no-handlers", "no-topology", "no-letters", "no-events"];
    for id in told {
        browser.until(&format!("document.getElementById('{id}').checkVisibility()"));
    }
    let paths = "performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)";
    assert_eq!(browser.run(&format!("{paths}.every(path => path.startsWith('/ops/bus/'))")), true);
    assert_eq!(browser.run(&format!("{paths}.includes('/ops/bus/stats')")), true);
    assert_eq!(browser.complaints(), [""; 0]);
}
