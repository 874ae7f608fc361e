//! Which fields of which types are personal data, and JSON without them.

use std::any::TypeId;
use std::sync::{OnceLock, PoisonError, RwLock};

use serde_json::Value;

use crate::typed_event::TypedEvent;

/// What records and the JSON view have in the place of [personal data](TypedEvent::PII).
pub(crate) const REDACTED: &str = "[REDACTED_PII]";

/// The fields of a type, by their names in JSON.
type Names = &'static [&'static str];

/// The types with personal data that a bus of this process carries: they are redacted however they are emitted.
static KNOWN: OnceLock<RwLock<Vec<(TypeId, Names)>>> = OnceLock::new();

/// Notes a type that a bus carries from now on.
pub(crate) fn know<T: TypedEvent>() {
    if T::PII.is_empty() {
        return;
    }
    let id = TypeId::of::<T>();
    let mut known = KNOWN.get_or_init(RwLock::default).write().unwrap_or_else(PoisonError::into_inner);
    if known.iter().all(|(other, _)| *other != id) {
        known.push((id, T::PII));
    }
}

/// The personal data of a type that is emitted as any other. One load while there is none in the process.
#[inline]
pub(super) fn names_of<T: 'static>() -> Option<Names> {
    let known = KNOWN.get()?.read().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|(id, _)| *id == TypeId::of::<T>()).map(|(_, names)| *names)
}

/// JSON without personal data. What is no map of fields is all of it personal data.
pub(super) fn redacted(mut json: Value, names: Names) -> Value {
    let Value::Object(fields) = &mut json else { return REDACTED.into() };
    for name in names {
        if let Some(field) = fields.get_mut(*name) {
            *field = REDACTED.into();
        }
    }
    json
}
