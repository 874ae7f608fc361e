//! Any bytes as a contract of events: one that is read is written, comes back, breaks nothing of itself, and is exported.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nervebus::{Change, Compatibility, ContentModel, Contract};

fuzz_target!(|text: &str| {
    let Ok(contract) = text.parse::<Contract>() else { return };
    assert_eq!(Contract::from_json(&contract.to_json()).expect("our own document"), contract);
    // Whatever is not understood is reported as unknown, and is no change.
    let found = contract.breaking(&contract, Some(Compatibility::Full), ContentModel::Open);
    assert!(found.iter().all(|one| one.breaking.change == Change::Unknown), "{found:?}");
    assert!(contract.to_asyncapi("fuzz", "1").is_object());
});
