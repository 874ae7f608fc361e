//! The shop: orders come in waves, are paid, shipped and written about; now and then something goes wrong.

use nervebus::{Bus, Event, Lane, Timing, json};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Somebody wants something.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(topic = "order.placed", key = id, emits("order.paid", "order.refused"))]
pub struct OrderPlaced {
    id: u64,
    cents: u64,
    email: String,
}

/// The money is there.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(topic = "order.paid", key = id, emits("parcel.shipped", "mail.queued"))]
pub struct OrderPaid {
    id: u64,
    cents: u64,
}

/// How often the shop looks whether somebody wants something.
const TICK: Duration = Duration::from_millis(10);

/// A bus with the shop's handlers, and the thread that orders.
#[derive(Debug)]
pub struct Shop {
    bus: Bus,
    closing: Arc<AtomicBool>,
    customers: JoinHandle<()>,
}

impl Shop {
    /// Opens the shop: orders come from now on.
    ///
    /// # Errors
    ///
    /// Whatever keeps the bus from being built.
    pub fn open() -> Result<Self, Box<dyn Error>> {
        let bus = staffed()?;
        let closing = Arc::new(AtomicBool::new(false));
        let (orders, is_closing) = (bus.clone(), Arc::clone(&closing));
        let customers = thread::spawn(move || {
            let mut tick = 0;
            while !is_closing.load(Ordering::Relaxed) {
                order(&orders, tick);
                tick += 1;
                thread::sleep(TICK);
            }
        });
        Ok(Self { bus, closing, customers })
    }

    /// Its bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Closes the shop, and says what became of its events.
    pub fn close(self, deadline: Duration) -> String {
        self.closing.store(true, Ordering::Relaxed);
        let _ = self.customers.join();
        self.bus.shutdown(deadline).to_string()
    }
}

/// The bus and its handlers.
fn staffed() -> Result<Bus, Box<dyn Error>> {
    let bus = Bus::builder()
        .lane(Lane::new("payment").workers(2).capacity(256))
        .lane(Lane::new("parcels").capacity(512))
        .lane(Lane::new("mail").capacity(128))
        .dead_letters(200)
        .timing(Timing::Every)
        .build()?;
    let weak = bus.downgrade();
    bus.topic::<OrderPlaced>()?.on().name("payment").lane("payment").handle(move |order, _| {
        take(200 + dice(order.id) % 3_000);
        let Some(bus) = weak.upgrade() else { return Ok(()) };
        if dice(order.id).is_multiple_of(29) {
            bus.emit("order.refused", json!({"id": order.id, "why": "no cover"})).map_err(|_| "the bus is closed")?;
            return Ok(());
        }
        let paid = OrderPaid { id: order.id, cents: order.cents };
        bus.topic().map(|mut topic| drop(topic.emit(paid))).map_err(|_| "the topic is another type's")
    })?;
    let weak = bus.downgrade();
    bus.topic::<OrderPaid>()?.on().name("warehouse").lane("parcels").handle(move |order, _| {
        take(100 + dice(order.id) % 900);
        let Some(bus) = weak.upgrade() else { return Ok(()) };
        let _ = bus.emit("parcel.shipped", json!({"id": order.id, "weight": dice(order.id) % 5_000}));
        let _ = bus.emit("mail.queued", json!({"id": order.id, "to": format!("customer{}@example.net", order.id)}));
        Ok::<_, &str>(())
    })?;
    bus.on("mail.*").name("smtp").lane("mail").handle(|mail| {
        let id = mail["id"].as_u64().unwrap_or_default();
        take(300 + dice(id) % 2_000);
        // The second time the mailbox has room.
        if dice(id + 7).is_multiple_of(211) && mail.attempt() == 1 {
            return Err(format!("the mailbox of {} is full", mail["to"].as_str().unwrap_or("nobody")));
        }
        Ok(())
    })?;
    bus.on("order.*").name("turnover").inline().handle(|order| assert!(order["id"].is_u64()))?;
    bus.on("invoice.*").name("books").handle(|_| ())?;
    Ok(bus)
}

/// A wave of orders, one a minute.
fn order(bus: &Bus, tick: u64) {
    let wave = (tick as f64 * TICK.as_secs_f64() * std::f64::consts::TAU / 60.0).sin();
    let orders = (2.0 + 1.5 * wave + (dice(tick) % 100) as f64 / 100.0) as u64;
    let Ok(mut placed) = bus.topic() else { return };
    for n in 0..orders {
        let id = tick * 10 + n;
        let email = format!("customer{id}@example.net");
        let _ = placed.emit(OrderPlaced { id, cents: 500 + dice(id) % 20_000, email });
    }
    if tick.is_multiple_of(300) {
        let _ = bus.emit("stock.low", json!({"article": dice(tick) % 1_000}));
    }
}

/// Takes some microseconds, as work would.
fn take(micros: u64) {
    thread::sleep(Duration::from_micros(micros));
}

/// The same number for the same seed, and another one for the next.
fn dice(seed: u64) -> u64 {
    let mixed = (seed ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
}
