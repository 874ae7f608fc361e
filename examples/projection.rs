//! A read model that follows the durable log, and is made anew when its rules have changed.
//!
//! `cargo run -p nervebus-examples --features patterns --example projection`

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use nervebus::{Bus, DurableLog, Event, Projection, ReadModel, json};

/// How much was ordered of what; in memory, and so made anew by each process.
#[derive(Default)]
struct Ordered {
    pieces: BTreeMap<String, u64>,
    position: u64,
}

impl ReadModel for Ordered {
    fn apply(&mut self, event: &Event<'_>, position: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
        let what = event["what"].as_str().ok_or("an order of nothing")?;
        *self.pieces.entry(what.to_owned()).or_default() += event["pieces"].as_u64().unwrap_or(1);
        self.position = position;
        Ok(())
    }

    fn position(&mut self) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
        Ok(Some(self.position))
    }

    fn reset(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        *self = Self::default();
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("nervebus-projection-{}", std::process::id()));
    let bus = Bus::builder().durable(DurableLog::at(&folder).topics("order.*")).build()?;
    let ordered = Projection::new("ordered", Ordered::default()).topics("order.placed").keep_all().start(&bus)?;
    let mut last = 0;
    for (what, pieces) in [("cup", 2), ("plate", 6), ("cup", 4)] {
        let receipt = bus.emit_durable("order.placed", json!({"what": what, "pieces": pieces}))?;
        last = receipt.position().unwrap_or(last);
    }
    ordered.wait_for(last, Duration::from_secs(5));
    println!("{:?}", ordered.read(|model| model.pieces.clone()));
    ordered.rebuild();
    ordered.wait_for(last, Duration::from_secs(5));
    println!("{:?}, {} events behind", ordered.read(|model| model.pieces.clone()), ordered.status().lag);
    ordered.stop();
    drop(bus);
    Ok(std::fs::remove_dir_all(folder)?)
}
