//! A trip of two bookings: both are made, or neither.
//!
//! `cargo run -p nervebus-examples --features patterns --example saga`

use std::error::Error;
use std::time::Duration;

use nervebus::{Bus, DurableLog, Lane, Saga, Step, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("nervebus-saga-{}", std::process::id()));
    let log = DurableLog::at(&folder).topics("trip.*");
    let bus = Bus::builder().durable(log).lane(Lane::new("sagas").workers(2)).build()?;
    bus.on("flight.book").answer(|request| {
        println!("{}: a flight", request["key"]);
        Ok::<Value, String>(json!({"seat": "7A"}))
    })?;
    bus.on("flight.cancel").answer(|request| {
        // The same key as the booking's: whoever has not booked under it has nothing to cancel.
        println!("{}: no flight", request["key"]);
        Ok::<Value, String>(Value::Null)
    })?;
    bus.on("hotel.book").answer(|request| match request["data"]["nights"].as_u64() {
        Some(nights @ 1..14) => Ok(json!({"nights": nights})),
        _ => Err("no room for so long"),
    })?;
    let trips = Saga::new("trip.booking")
        .step(Step::new("flight", "flight.book").undo("flight.cancel"))
        .step(Step::new("hotel", "hotel.book").timeout(Duration::from_secs(2)))
        .lane("sagas")
        .start(&bus)?;
    for (trip, nights) in [("short", 3), ("long", 30)] {
        trips.begin(trip, json!({"nights": nights}))?;
        if let Some(status) = trips.wait(trip, Duration::from_secs(10)) {
            println!("{trip}: {:?} {:?}", status.state, status.failure);
        }
    }
    drop(bus);
    Ok(std::fs::remove_dir_all(folder)?)
}
