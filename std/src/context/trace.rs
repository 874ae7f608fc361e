//! Which distributed trace an event belongs to, as W3C Trace Context has it.

use std::fmt;
use std::sync::Arc;

use super::trace_state;

/// The length of a `traceparent` of the one version that there is so far.
const LENGTH: usize = 55;

/// The trace that an event belongs to, and the span in it that has caused the event: what the headers `traceparent` and
/// `tracestate` say ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
///
/// Everything that is emitted for an event, by whatever handler on whatever lane, has the event's trace context as it is:
/// the same trace, and the same span for the parent. A bus records no spans of its own, so it makes no span ids either: a
/// span that nobody has recorded would be a hole in the trace. Who records one for a handler's call says so with
/// [`child`](Self::child) in a [`Scope`](crate::Scope); what is emitted or sent there names it as the parent.
///
/// # Cost
///
/// 48 bytes; a clone allocates nothing. An event without a trace has none of it.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, TraceContext, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("order.placed").inline().handle(|event| {
///     let trace = event.trace_context().expect("it was emitted with one");
///     assert_eq!(trace.trace_id(), 0x0af7651916cd43dd8448eb211c80319c);
/// })?;
/// let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").ok_or("malformed")?;
/// bus.event("order.placed", json!({"id": 7})).trace_context(trace).emit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    const SAMPLED: u8 = 1;
    /// Those that have a meaning: sampled, and that the trace's id is random. All others are to be 0.
    const KNOWN: u8 = Self::SAMPLED | 2;

    /// A trace and a span in it, not sampled; `None` if one of the two is 0, which is no id.
    #[must_use]
    pub fn new(trace_id: u128, span_id: u64) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags: 0, state: None })
    }

    /// Reads a `traceparent`; `None` for one that is malformed, which is to be treated as if it were not there.
    ///
    /// Version 00 is read strictly: 55 characters, lower case, no id of zeros. Of a higher version the first four fields are
    /// read, and what may follow them behind a dash is left out. `ff` is no version.
    ///
    /// ```
    /// use nervebus::TraceContext;
    ///
    /// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert_eq!(TraceContext::parse(text).ok_or("malformed")?.to_string(), text);
    /// assert!(TraceContext::parse(&text.to_uppercase()).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let version = hex(traceparent.get(..2)?)?;
        let rest = traceparent.get(LENGTH..)?;
        let ends = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let dashes = [2, 35, 52].iter().all(|at| traceparent.as_bytes().get(*at) == Some(&b'-'));
        if version == 0xff || !ends || !dashes {
            return None;
        }
        let field = |from, to| hex(traceparent.get(from..to)?);
        let span_id = u64::try_from(field(36, 52)?).ok()?;
        let flags = u8::try_from(field(53, LENGTH)?).ok()? & Self::KNOWN;
        Some(Self { flags, ..Self::new(field(3, 35)?, span_id)? })
    }

    /// The same with what a `tracestate` says; one that is malformed is left out, and changes nothing else. Several headers
    /// are read as one, with commas between them. Default: none.
    ///
    /// Members keep their order, at most 32 of them; of two with one key the first counts. What goes beyond 512 characters is
    /// left out in whole members: first those of more than 128, then the last ones.
    #[must_use]
    pub fn with_state(self, tracestate: &str) -> Self {
        Self { state: trace_state::parse(tracestate).map(Into::into), ..self }
    }

    /// The same, said to be recorded by who has caused it, or not.
    #[must_use]
    pub fn with_sampled(self, sampled: bool) -> Self {
        let others = self.flags & !Self::SAMPLED;
        Self { flags: others | if sampled { Self::SAMPLED } else { 0 }, ..self }
    }

    /// Another span of the same trace, for what that span causes; `None` for 0, which is no id.
    #[must_use]
    pub fn child(&self, span_id: u64) -> Option<Self> {
        (span_id != 0).then(|| Self { span_id, ..self.clone() })
    }

    /// The trace; never 0. Its text is 32 hexadecimal digits, `{:032x}`.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span that has caused the event, its parent; never 0. Its text is 16 hexadecimal digits, `{:016x}`.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether who has caused it may have recorded it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// What the systems that trace have added, as a `tracestate`.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// The `traceparent`, in version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// A number in lower-case hexadecimal digits.
fn hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}
