use std::sync::mpsc;
use std::time::Duration;

use crate::bus::Bus;
use crate::delivery::engine::{Engine, InlineAccount as Inline};
use crate::platform::manual_clock::ManualClock;
use crate::platform::place::place;
use serde_json::Value;
