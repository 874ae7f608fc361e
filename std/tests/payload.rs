//! Payloads: any serializable value, seen as itself and as JSON, and dropped exactly once on every way it can go.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nervebus::{Bus, Event, Lane, Overflow, Payload, Value, json};
use serde::ser::{Error as _, SerializeStruct};
use serde::{Serialize, Serializer};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// Emits a value to an inline handler and to two lanes; all must see it as itself and as this JSON.
#[track_caller]
fn travels<P: Payload + Clone + PartialEq + Debug>(value: P, as_json: &Value) {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).build().unwrap();
    for lane in [None, Some("a"), Some("b")] {
        let (expected, as_json) = (value.clone(), as_json.clone());
        let handler = move |event: &Event<'_>| {
            assert_eq!(event.payload_as::<P>(), Some(&expected));
            assert_eq!(event.payload(), &as_json);
            assert!(event.payload_as::<Alien>().is_none());
        };
        match lane {
            None => bus.on("t").inline().handle(handler).unwrap(),
            Some(lane) => bus.on("t").lane(lane).handle(handler).unwrap(),
        };
    }
    let report = bus.emit_and_wait("t", value).unwrap();
    let failures: Vec<_> = report.failures().collect();
    assert!(report.outcomes.len() == 3 && failures.is_empty(), "{failures:?}");
}

struct Alien;

#[derive(Serialize, Clone, PartialEq, Debug)]
struct Order {
    id: u64,
    items: Vec<String>,
    note: Option<String>,
}

#[test]
fn a_struct_is_seen_as_itself_and_as_json() {
    let order = Order { id: 7, items: vec!["ink".into()], note: None };
    travels(order, &json!({"id": 7, "items": ["ink"], "note": null}));
}

#[test]
fn values_of_every_kind_travel() {
    travels(json!({"a": [1, null, {"b": "c"}]}), &json!({"a": [1, null, {"b": "c"}]}));
    travels((), &Value::Null);
    travels("text", &json!("text"));
    travels(String::from("owned"), &json!("owned"));
    travels(u64::MAX, &json!(u64::MAX));
    travels(Some((1_u8, true)), &json!([1, true]));
    travels(vec![1.5_f64; 3], &json!([1.5, 1.5, 1.5]));
    travels(Value::Null, &Value::Null);
}

#[test]
fn a_payload_larger_than_a_slot_travels_like_a_small_one() {
    for size in [0_usize, 1, 8, 31] {
        let text = "x".repeat(size);
        travels((text.clone(), [size as u64; 4]), &json!([text, vec![size; 4]]));
    }
    travels([7_u64; 32], &json!(vec![7; 32]));
    travels(([7_u64; 8], [7_u64; 8], 1_u8), &json!([vec![7; 8], vec![7; 8], 1]));
}

#[derive(Serialize, Clone, PartialEq, Debug)]
#[repr(align(256))]
struct Aligned(u8);

#[test]
fn a_payload_keeps_its_alignment() {
    travels(Aligned(5), &json!(5));
    let bus = Bus::builder().build().unwrap();
    let aligned = |event: &Event<'_>| {
        let at = std::ptr::from_ref(event.payload_as::<Aligned>().unwrap()).addr();
        if at.is_multiple_of(256) { Ok(()) } else { Err(format!("at {at:#x}")) }
    };
    bus.on("t").inline().handle(aligned).unwrap();
    bus.on("t").handle(aligned).unwrap();
    assert!((0..20).all(|n| bus.emit_and_wait("t", Aligned(n)).unwrap().all_handled()));
}

/// Counts how often it is serialized.
struct Counting(Arc<AtomicUsize>);

impl Serialize for Counting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_u64(7)
    }
}

#[test]
fn json_is_made_once_for_all_who_ask_and_never_if_nobody_does() {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).build().unwrap();
    let times = Arc::new(AtomicUsize::new(0));
    bus.on("*").lane("a").handle(|event| assert!(event.payload_as::<Counting>().is_some())).unwrap();
    bus.on("*").lane("b").handle(|event| assert!(event.payload_as::<Counting>().is_some())).unwrap();
    assert!(bus.emit_and_wait("t", Counting(Arc::clone(&times))).unwrap().all_handled());
    assert_eq!(times.load(Ordering::Relaxed), 0);
    bus.on("t").inline().handle(|event| assert_eq!(*event.payload(), 7)).unwrap();
    bus.on("t").lane("a").handle(|event| assert_eq!(*event.payload(), 7)).unwrap();
    bus.on("t").lane("b").handle(|event| assert_eq!(*event.payload(), 7)).unwrap();
    assert!(bus.emit_and_wait("t", Counting(Arc::clone(&times))).unwrap().all_handled());
    assert_eq!(times.load(Ordering::Relaxed), 1);
}

/// Serializes badly after a good beginning.
struct Bad {
    panics: bool,
}

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Bad", 2)?;
        fields.serialize_field("good", &1)?;
        assert!(!self.panics, "half-way");
        Err(S::Error::custom("no words for this"))
    }
}

#[test]
fn a_payload_that_does_not_serialize_has_no_json_and_is_still_itself() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").name("as json").handle(|event| assert!(event.payload().is_null() && event["good"].is_null())).unwrap();
    bus.on("t").name("as itself").handle(|event| assert!(event.payload_as::<Bad>().is_some())).unwrap();
    assert!(bus.emit_and_wait("t", Bad { panics: false }).unwrap().all_handled());
    let report = bus.emit_and_wait("t", Bad { panics: true }).unwrap();
    let failed: Vec<_> = report.failures().map(|outcome| &*outcome.handler).collect();
    assert_eq!(failed, ["as json"], "its panic is the panic of the handler that asked");
}

/// Says on a channel when it is dropped. `SPACE` makes it fit into a slot or not.
#[derive(Serialize)]
struct Mortal<const SPACE: usize> {
    #[serde(skip)]
    last_words: Sender<()>,
    #[serde(skip)]
    _space: [u8; SPACE],
}

impl<const SPACE: usize> Drop for Mortal<SPACE> {
    fn drop(&mut self) {
        self.last_words.send(()).unwrap();
    }
}

/// Makes mortal payloads.
struct Births<const SPACE: usize> {
    last_words: Sender<()>,
    made: usize,
}

impl<const SPACE: usize> Births<SPACE> {
    fn next(&mut self) -> Mortal<SPACE> {
        self.made += 1;
        Mortal { last_words: self.last_words.clone(), _space: [0; SPACE] }
    }
}

/// Lets events with such payloads live and die, and checks that there were as many deaths as births.
fn drops_once<const SPACE: usize>(life: fn(&mut Births<SPACE>)) {
    let (last_words, deaths) = mpsc::channel();
    let mut births = Births { last_words, made: 0 };
    life(&mut births);
    let Births { made, last_words } = births;
    drop(last_words);
    let mut died = 0;
    // The channel ends when nobody is left to say anything.
    loop {
        match deaths.recv_timeout(GUARD) {
            Ok(()) => died += 1,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("{died} of {made} were dropped, the others leak"),
        }
    }
    assert!(made > 0 && died == made, "{made} were made, {died} were dropped");
}

/// Plays a scene with payloads that lie in an event's slot, and with such that do not fit.
macro_rules! in_both_sizes {
    ($scene:ident) => {
        drops_once($scene::<8>);
        drops_once($scene::<500>);
    };
}

#[test]
fn a_payload_that_was_handled_is_dropped_once() {
    fn scene<const SPACE: usize>(births: &mut Births<SPACE>) {
        let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
        for topic in ["inline", "all"] {
            bus.on(topic).inline().handle(|_| ()).unwrap();
        }
        for topic in ["default", "both", "all"] {
            bus.on(topic).handle(|event| assert!(event.payload().is_object())).unwrap();
        }
        for topic in ["both", "all"] {
            bus.on(topic).lane("io").handle(|event| assert!(event.payload_as::<Mortal<SPACE>>().is_some())).unwrap();
        }
        for topic in ["inline", "default", "both", "all", "nobody listens"] {
            let topic = topic.replace(' ', "_");
            bus.emit(&topic, births.next()).unwrap();
            assert!(bus.emit_and_wait(&topic, births.next()).unwrap().all_handled());
        }
        assert!(bus.shutdown(GUARD).drained);
    }
    in_both_sizes!(scene);
}

#[test]
fn a_payload_that_was_refused_comes_back_and_is_dropped_once() {
    fn scene<const SPACE: usize>(births: &mut Births<SPACE>) {
        let bus = Bus::builder().build().unwrap();
        bus.subscribe("t", |_| ()).unwrap();
        let mut refused = bus.emit("not a topic", births.next()).unwrap_err().into_payload();
        assert!(bus.shutdown(GUARD).drained);
        for _ in 0..3 {
            refused = bus.emit("t", refused).unwrap_err().into_payload();
        }
        // This one stays in its error.
        let error = bus.emit("t", births.next()).unwrap_err();
        assert!(error.is_closed());
    }
    in_both_sizes!(scene);
}

#[test]
fn a_payload_that_failed_is_dropped_with_its_dead_letter() {
    fn scene<const SPACE: usize>(births: &mut Births<SPACE>) {
        let bus = Bus::builder().dead_letters(2).build().unwrap();
        bus.on("inline").inline().handle(|_| Err("no")).unwrap();
        bus.on("queued").handle(|_| Err("no")).unwrap();
        bus.on("queued").handle(|_| -> Result<(), String> { panic!("no") }).unwrap();
        for topic in ["inline", "queued", "inline", "queued", "inline"] {
            assert!(!bus.emit_and_wait(topic, births.next()).unwrap().all_handled());
        }
        assert_eq!(bus.dead_letters().overwritten(), 5);
        let kept = bus.dead_letters().list().pop().unwrap();
        drop(bus);
        assert!(kept.event.as_event().payload_as::<Mortal<SPACE>>().is_some(), "a letter keeps its event alive");
    }
    in_both_sizes!(scene);
}

/// A bus whose worker is busy until `go` is dropped, and whose ring of two is full.
fn stuck<const SPACE: usize>(overflow: Overflow, births: &mut Births<SPACE>) -> (Bus, Sender<()>) {
    let lane = Lane::new("narrow").capacity(2).overflow(overflow);
    let bus = Bus::builder().default_lane(lane).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    bus.subscribe("t", move |_| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
    })
    .unwrap();
    bus.emit("t", births.next()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", births.next()).unwrap();
    bus.emit("t", births.next()).unwrap();
    (bus, go)
}

#[test]
fn a_payload_that_was_dropped_by_a_full_lane_is_dropped_once() {
    fn scene<const SPACE: usize>(births: &mut Births<SPACE>) {
        for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Reject] {
            let (bus, go) = stuck(overflow, births);
            for _ in 0..5 {
                let emitted = bus.emit("t", births.next());
                assert_eq!(emitted.is_err(), overflow == Overflow::Reject);
            }
            drop(go);
            assert!(bus.shutdown(GUARD).drained);
        }
    }
    in_both_sizes!(scene);
}

#[test]
fn a_payload_that_a_shutdown_left_is_dropped_once() {
    fn scene<const SPACE: usize>(births: &mut Births<SPACE>) {
        let (bus, go) = stuck(Overflow::Block, births);
        assert_eq!(bus.shutdown(Duration::ZERO).left, 2);
        let letters = bus.dead_letters().list();
        assert!(letters.iter().all(|letter| letter.event.as_event().payload_as::<Mortal<SPACE>>().is_some()));
        drop(go);
    }
    in_both_sizes!(scene);
}

#[test]
fn a_payload_that_nobody_got_to_because_of_an_unsubscribe_is_dropped_once() {
    fn scene<const SPACE: usize>(births: &mut Births<SPACE>) {
        let (bus, go) = stuck(Overflow::Block, births);
        let id = nervebus::SubscriptionId::new(bus.stats().subscriptions[0].id);
        assert!(bus.unsubscribe(id));
        drop(go);
        let end = bus.shutdown(GUARD);
        assert!(end.drained);
        assert_eq!(end.ledger.deliveries().cancelled, 2);
    }
    in_both_sizes!(scene);
}

/// A payload that takes its handlers' thread along when it goes, if nobody stops it.
#[derive(Serialize)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bad end");
    }
}

#[test]
fn a_payload_that_panics_when_dropped_is_not_the_end_of_its_lane() {
    let bus = Bus::builder().wait_limit(GUARD).build().unwrap();
    bus.subscribe("bomb", |_| ()).unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    bus.emit("bomb", Bomb).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled(), "the lane's worker is gone");
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
}

#[test]
fn a_payload_that_panics_when_dropped_by_an_emit_leaves_no_emit_under_way() {
    let bus = Bus::builder().build().unwrap();
    bus.on("inline").inline().handle(|_| ()).unwrap();
    for topic in ["inline", "nobody"] {
        // Whether the emitter gets to see the panic is not the point here.
        let emit = AssertUnwindSafe(|| bus.emit(topic, Bomb).map_err(std::mem::forget));
        let _ = catch_unwind(emit);
    }
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
    assert_eq!((end.ledger.emitted, end.ledger.emitting), (2, 0));
}
