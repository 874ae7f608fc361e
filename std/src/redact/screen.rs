//! The one place where what leaves a bus passes a redactor: lines of logs, and the texts of errors.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Counts, DataClass, Redactor};

/// What stands for what could not be searched, as JSON and as text.
const UNSEARCHED: &str = "\"[REDACTED]\"";
const UNSEARCHED_TEXT: &str = "[REDACTED]";

/// A redactor that everything passes, or nothing in its place. Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub(crate) struct Screen(Option<Arc<Inner>>);

struct Inner {
    redactor: Redactor,
    /// How many values of each class were replaced.
    counts: [AtomicU64; DataClass::ALL.len()],
}

impl Screen {
    pub(crate) fn new(redactor: Redactor) -> Self {
        Self(Some(Arc::new(Inner { redactor, counts: [const { AtomicU64::new(0) }; DataClass::ALL.len()] })))
    }

    /// A screen of the same rules, or of the default ones where everything passes this; it counts by itself.
    #[cfg(feature = "console")]
    pub(crate) fn or_default(&self) -> Self {
        Self::new(self.0.as_ref().map(|inner| inner.redactor.clone()).unwrap_or_default())
    }

    /// Puts other JSON in the place of a payload's, which goes from `start` to the end of `out`.
    #[inline]
    pub(crate) fn payload(&self, out: &mut Vec<u8>, start: usize) {
        if let Some(inner) = &self.0 {
            inner.payload(out, start);
        }
    }

    /// What to write for a source, a correlation id or an error.
    #[inline]
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.0 {
            Some(inner) => inner.text(text),
            None => Cow::Borrowed(text),
        }
    }

    /// As [`text`](Self::text), for a text that is given away.
    pub(crate) fn owned(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => redacted,
        }
    }

    /// How many values of each class were replaced so far.
    pub(crate) fn counts(&self) -> Counts {
        let read =
            |inner: &Arc<Inner>| Counts::from(inner.counts.each_ref().map(|count| count.load(Ordering::Relaxed)));
        self.0.as_ref().map(read).unwrap_or_default()
    }
}

impl Inner {
    #[cold]
    fn payload(&self, out: &mut Vec<u8>, start: usize) {
        let document = out.split_off(start);
        // Hooks of the user's run here. The raw value must not get out because one of them panics.
        let redacted = catch_unwind(AssertUnwindSafe(|| self.redactor.redact_json(&document, out)));
        match redacted.ok().flatten() {
            Some(counts) => self.count(counts),
            None => {
                out.truncate(start);
                out.extend_from_slice(UNSEARCHED.as_bytes());
            }
        }
    }

    #[cold]
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let redacted = catch_unwind(AssertUnwindSafe(|| {
            let mut out = Vec::new();
            let counts = self.redactor.redact_bytes(text.as_bytes(), &mut out);
            (out, counts)
        }));
        match redacted {
            Ok((_, counts)) if counts.total() == 0 => Cow::Borrowed(text),
            Ok((out, counts)) => {
                self.count(counts);
                Cow::Owned(String::from_utf8_lossy(&out).into_owned())
            }
            Err(_) => Cow::Borrowed(UNSEARCHED_TEXT),
        }
    }

    fn count(&self, counts: Counts) {
        for (class, count) in counts.iter() {
            self.counts[class as usize].fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Screen").field(&self.0.as_ref().map(|inner| &inner.redactor)).finish()
    }
}
