//! The example programs of nervebus, as a library so that the tests run exactly what users run.
//!
//! One module a program; the file in the package's root with the same name is its `main`.
#![allow(clippy::disallowed_methods, reason = "a program opens the files its user names and reads the real clock")]

#[cfg(feature = "console")]
pub mod console;
#[cfg(feature = "http-service")]
pub mod http_service;
pub mod quickstart;
