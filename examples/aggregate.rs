//! An account whose state is what its events have made of it, over restarts.
//!
//! `cargo run -p nervebus-examples --features patterns --example aggregate`

use std::error::Error;

use nervebus::{Aggregate, Aggregates, Bus, DurableLog, Event};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "account.changed")]
enum Changed {
    Paid { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Account {
    cents: u64,
}

impl Aggregate for Account {
    type Event = Changed;

    fn apply(&mut self, event: &Changed) {
        match event {
            Changed::Paid { cents } => self.cents += cents,
            Changed::Withdrawn { cents } => self.cents -= cents,
        }
    }
}

impl Account {
    fn withdraw(&self, cents: u64) -> Result<Changed, String> {
        if cents > self.cents {
            return Err(format!("{cents} cents are more than the {} there are", self.cents));
        }
        Ok(Changed::Withdrawn { cents })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("nervebus-aggregate-{}", std::process::id()));
    for run in 1..=2 {
        let bus = Bus::builder().durable(DurableLog::at(&folder).topics("account.*")).build()?;
        let accounts = Aggregates::<Account>::open(&bus)?.snapshot_every(1_000);
        accounts.execute("alice", |_| Ok::<_, String>(Changed::Paid { cents: 500 }))?;
        accounts.execute("alice", |account| account.withdraw(200))?;
        if let Err(refused) = accounts.execute("alice", |account| account.withdraw(2_000)) {
            println!("run {run}: refused: {refused}");
        }
        let alice = accounts.load("alice")?;
        println!("run {run}: {} cents after {} events", alice.state.cents, alice.version);
    }
    Ok(std::fs::remove_dir_all(folder)?)
}
