//! The bus that everybody writes first: a map of boxed handlers behind a lock.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use serde_json::Value;

use crate::Payload;
use crate::inline::{InlineBus, Order, Sum};

type Handlers<P> = Vec<Box<dyn Fn(&P) + Send + Sync>>;

/// `RwLock<HashMap<String, Vec<Box<dyn Fn(&P) + Send + Sync>>>>`.
#[expect(missing_debug_implementations, reason = "closures have nothing to show")]
pub struct HandWritten<P> {
    names: Vec<String>,
    handlers: RwLock<HashMap<String, Handlers<P>>>,
}

impl<P: Order> HandWritten<P> {
    pub(crate) fn new(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let named = |name: &String| (name.clone(), adders(handlers, sum));
        let handlers = topics.iter().map(named).collect();
        Self { names: topics.to_vec(), handlers: RwLock::new(handlers) }
    }

    #[inline]
    pub(crate) fn emit_by_name(&self, topic: usize, payload: &P) {
        let handlers = self.handlers.read().expect("no writer panicked");
        for handler in handlers.get(&self.names[topic]).into_iter().flatten() {
            handler(payload);
        }
    }
}

/// That many boxed handlers.
pub(crate) fn adders<P: Order>(handlers: usize, sum: &Arc<Sum>) -> Handlers<P> {
    let adder = |_| -> Box<dyn Fn(&P) + Send + Sync> {
        let sum = Arc::clone(sum);
        Box::new(move |payload| sum.add(payload.cents()))
    };
    (0..handlers).map(adder).collect()
}

impl InlineBus for HandWritten<Payload> {
    const NAME: &'static str = "rwlock_hashmap/emit";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self::new(topics, handlers, sum)
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.emit_by_name(topic, &Payload::of(value));
    }
}

impl InlineBus for HandWritten<Value> {
    const NAME: &'static str = "rwlock_hashmap/emit_json";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self::new(topics, handlers, sum)
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.emit_by_name(topic, &Value::of(value));
    }
}
