//! A handler that a test holds in its hand.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

use nervebus::Event;

/// A handler that says of each event when it begins, and then waits for a word, or for its sender to be gone.
pub(crate) fn held() -> (impl Fn(&Event<'_>) + Send + Sync + 'static, Receiver<u64>, Sender<()>) {
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let handler = move |event: &Event<'_>| {
        let _ = begin.send(event.seq());
        let _ = gone.lock().unwrap().recv();
    };
    (handler, begun, go)
}
