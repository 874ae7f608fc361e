//! `#[derive(Event)]` of nervebus, which writes an implementation of `nervebus::TypedEvent`.
//!
//! Use it through `nervebus::Event`; there it is documented, with examples.

mod attributes;
mod expand;
mod serde_names;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Writes `nervebus::TypedEvent` for a type, from what its `#[event(...)]` says.
///
/// The type is a struct of any kind or an enum. It must be `Serialize`, and has no parameters. `key`, `debug` and `pii` are for
/// structs only: an enum that needs them is put in a field of one.
///
/// | on the type | means | default |
/// |---|---|---|
/// | `topic = "order.placed"` | the topic: `domain.action[.sub]*`, in lower case; not of the domain `system` | must be given |
/// | `version = 2` | the version of the payload's shape, from 1 | 1 |
/// | `category = "command"` | `event`, `command` (exactly one handler) or `intent` | `event` |
/// | `key = id` | events with equal `id` stay in order on lanes with several workers; the field is `Hash` | none |
/// | `priority = "high"` | the class: `low`, `normal`, `high` or `critical` | `normal` |
/// | `ttl = "30s"` | how long it is worth delivering: a whole number with `ms`, `s`, `m` or `h` | for ever |
/// | `emits("order.shipped")` | topics that its handlers emit on, for drawings of the whole | none |
/// | `debug` | writes `Debug` too, with `[REDACTED]` for fields that are `pii` | not written |
/// | `duplicate` | several lanes get clones instead of sharing the payload; for types whose clones do not allocate | types that are `Copy` do |
///
/// `#[event(pii)]` on a field with a name keeps its value out of logs; see `TypedEvent::PII`. The field is found in JSON by its
/// name and by serde's `rename` and `rename_all`: a `Serialize` that is written by hand must give it that name. A field whose
/// own type has personal data is marked as a whole, for `pii` in that type is about its own topic.
///
/// The code that it writes begins its paths with `::nervebus`.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
