//! Checks that the BPF objects are there to be embedded, since no compiler message would say how to make them.

use std::path::Path;

fn main() {
    for (name, variable) in
        [("nexa-gateway-ebpf", "NEXA_EBPF_OBJECT"), ("nexa-xdp-ebpf", "NEXA_XDP_EBPF_OBJECT")]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf");
        let object = folder.join(name).with_extension("o");
        println!("cargo::rerun-if-changed={}", object.display());
        if object.exists() {
            println!("cargo::rustc-env={variable}={}", object.display());
        } else {
            println!("cargo::error=the BPF programs are not built; run `cargo xtask ebpf`");
        }
    }
}
