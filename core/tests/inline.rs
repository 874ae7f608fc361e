//! Values in place behind a trait object: any type that fits, dropped once, with its interior mutability.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nervebus_core::inline::{Inline, Upcast};

trait Counter {
    fn add(&self) -> usize;
    fn reset(&mut self);
}

/// Counts in place, and counts its drops elsewhere.
struct InPlace {
    count: AtomicUsize,
    drops: Arc<AtomicUsize>,
}

impl Counter for InPlace {
    fn add(&self) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn reset(&mut self) {
        *self.count.get_mut() = 0;
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

impl Upcast<dyn Counter> for InPlace {
    fn upcast(&self) -> &(dyn Counter + 'static) {
        self
    }

    fn upcast_mut(&mut self) -> &mut (dyn Counter + 'static) {
        self
    }
}

#[test]
fn a_value_is_used_moved_and_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = InPlace { count: AtomicUsize::new(0), drops: Arc::clone(&drops) };
    let mut inline: Inline<dyn Counter, 2> = Inline::new(value).ok().unwrap();
    assert_eq!((inline.add(), inline.add()), (1, 2));
    inline.reset();
    let moved = Box::new(inline);
    assert_eq!(moved.add(), 1);
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(moved);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

struct Shown<T>(T);

impl<T: Debug + 'static> Upcast<dyn Debug> for Shown<T> {
    fn upcast(&self) -> &(dyn Debug + 'static) {
        &self.0
    }

    fn upcast_mut(&mut self) -> &mut (dyn Debug + 'static) {
        &mut self.0
    }
}

#[repr(align(64))]
#[derive(Debug)]
struct Aligned(#[allow(dead_code, reason = "read by Debug")] u8);

#[test]
fn what_does_not_fit_comes_back() {
    type Small = Inline<dyn Debug, 2>;
    assert!(Small::fits::<[usize; 2]>() && !Small::fits::<[usize; 3]>() && !Small::fits::<Aligned>());
    assert!(Small::new(Shown([7usize; 3])).is_err_and(|back| back.0 == [7; 3]));
    assert!(Small::new(Shown(Aligned(1))).is_err());
    let nothing: Small = Small::new(Shown(())).ok().unwrap();
    assert_eq!(format!("{nothing:?}"), "()");
}

#[test]
fn it_goes_from_thread_to_thread() {
    let inline: Inline<dyn Debug, 4> = Inline::new(Shown(Mutex::new(5))).ok().unwrap();
    let text = std::thread::spawn(move || format!("{inline:?}")).join().unwrap();
    assert!(text.contains('5'));
}
