//! A shop that changes its data and says so, both or neither.
//!
//! `cargo run -p nervebus-examples --features patterns --example outbox`

use std::error::Error;
use std::time::Duration;

use nervebus::rusqlite::Connection;
use nervebus::{Bus, DedupWindow, Outbox, OutboxEvent, json};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("nervebus-outbox-{}.sqlite", std::process::id()));
    let mut shop = Connection::open(&path)?;
    shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, cents INTEGER)")?;
    Outbox::create(&shop)?;

    // What a process emits that is killed before it has marked it, comes again: with the same identity.
    let bus = Bus::builder().dedup(DedupWindow::new(10_000, Duration::from_secs(3_600))).build()?;
    bus.subscribe("order.*", |event| println!("{} {}", event.id(), event.payload()))?;
    let relay = Outbox::over(Connection::open(&path)?).start(&bus)?;
    for (id, cents) in [(1, 1_999), (2, 0), (3, 499)] {
        let order = shop.transaction()?;
        order.execute("INSERT INTO orders VALUES (?1, ?2)", [id, cents])?;
        OutboxEvent::new("order.placed", &json!({"id": id, "cents": cents})).record(&order)?;
        // An order of nothing is rolled back when it goes, and nobody hears of it.
        if cents > 0 {
            order.commit()?;
            relay.wake();
        }
    }
    while Outbox::pending(&shop)? > 0 {
        std::thread::yield_now();
    }
    println!("{:?}", relay.stop());
    bus.shutdown(Duration::from_secs(5));
    Ok(std::fs::remove_file(path)?)
}
