//! Redaction: what is sensitive in a text or in JSON is replaced by markers.
//!
//! This knows nothing of buses and files: text goes in, text comes out. [`rules`] holds what a user asked for and what
//! the outside calls. [`scan`] goes over a text once; a table of bytes leads it to candidates, each of which is looked at
//! by the file that has its name: [`email`], [`number`] (which leads to [`card`], [`phone`] and [`identity`]), [`ip`],
//! [`token`] (which leads to [`cloud`] and [`provider`]), [`secret`], [`assign`] and [`prose`]. [`json`] walks over a document and
//! asks [`keys`] and [`pair`] about names. Regular expressions confirm what [`provider`] found, on short windows; they never search.

mod assign;
mod card;
mod class;
mod cloud;
mod email;
mod escape;
mod identity;
mod ip;
mod json;
mod keys;
mod marker;
mod number;
mod pair;
mod phone;
mod prose;
mod provider;
mod rules;
mod scan;
pub(crate) mod screen;
mod secret;
mod text;
mod token;
#[cfg(test)]
mod work;

pub use class::{Counts, DataClass};
#[cfg(feature = "regex")]
pub use rules::PatternError;
pub use rules::Redactor;
