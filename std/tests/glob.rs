//! Taking in everything: no name of the crate hides one that every Rust file knows.

#[allow(unused_imports, reason = "that it is there is what is tested")]
use nervebus::*;

/// Bounds and types as any file writes them, which would not compile if the crate had things of the same names.
fn known<T: Send + Sync + Sized + Unpin + Clone + Default + PartialEq + Eq + PartialOrd + Ord>(
    value: T,
) -> Option<Box<T>> {
    let copies: Vec<T> = [value.clone(), value].into_iter().collect();
    let found: Result<T, String> = copies.into_iter().max().ok_or_else(String::new);
    found.ok().map(Box::new)
}

#[test]
fn a_glob_import_hides_nothing_of_the_standard_prelude() {
    assert_eq!(known(7), Some(Box::new(7)));
    assert_eq!(known(String::new()), Some(Box::default()));
}
