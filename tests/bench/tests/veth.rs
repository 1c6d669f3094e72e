//! The floors that need namespaces (root). That they are finite and above zero is all: speed is for benches.

use std::time::Duration;

use nexa_bench::floors::veth::Link;
use nexa_lab::{ledger::Ledger, names::Prefix, namespace};

#[test]
fn a_veth_carries_and_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::new(&folder.path().join("state.json"), folder.path()).expect("a ledger");
    let link = Link::new(&Prefix::of(folder.path()), &ledger).expect("made");
    let run = Duration::from_millis(5);
    for figure in [link.tcp_gbit_per_s(run).expect("carried"), link.udp_packet_ns(run).expect("carried")] {
        assert!(figure.is_finite() && figure > 0.0, "{figure}");
    }
    let names = ledger.state().namespaces;
    assert!(
        names.len() == 2 && names.iter().all(|name| namespace::exists(name)),
        "noted, to be removed: {names:?}"
    );
    drop(link);
    assert!(!names.iter().any(|name| namespace::exists(name)));
}
