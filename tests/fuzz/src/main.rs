//! One program for all targets: `NEXA_FUZZ_TARGET` says which, the rest of the command line is libFuzzer's.
#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("NEXA_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(target, _)| *target == name);
    found.map(|(_, run)| *run).unwrap_or_else(|| {
        let names: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
        panic!("NEXA_FUZZ_TARGET is one of {}", names.join(", "))
    })
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    TARGET(bytes);
    Corpus::Keep
});
