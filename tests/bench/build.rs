//! Checks that the BPF object is there to be embedded, since no compiler message would say how to make it.

use std::path::Path;

fn main() {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/nexa-bench-ebpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    if object.exists() {
        println!("cargo::rustc-env=NEXA_BENCH_EBPF_OBJECT={}", object.display());
    } else {
        println!("cargo::error=the BPF programs are not built; run `cargo xtask ebpf`");
    }
}
