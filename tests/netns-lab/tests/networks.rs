//! Namespaces, networks and servers of the lab (root).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use nexa_lab::{
    Network,
    capture::Capture,
    folder::Folder,
    lan::Servers,
    ledger::Ledger,
    names::{CONTROL, LAN_NETWORKS, SERVER, port},
    namespace::{self, Namespace},
    probe::{self, Hops, MARKED_HOPS},
};

const LIMIT: Duration = Duration::from_secs(5);

fn open(root: &Path) -> (Folder, Ledger) {
    let folder = Folder::open(root).expect("a folder");
    let ledger = Ledger::new(&root.join("test-state.json"), root).expect("a ledger");
    (folder, ledger)
}

#[test]
fn a_namespace_goes_with_its_value_also_in_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = Folder::open(folder.path()).expect("opened").prefix().name("gone");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let namespace = Namespace::new(&name).expect("made");
        assert!(namespace::exists(namespace.name()));
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert!(!namespace::exists(&name));
}

#[test]
fn a_name_that_is_taken_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = Folder::open(folder.path()).expect("opened").prefix().name("taken");
    let first = Namespace::new(&name).expect("made");
    assert!(Namespace::new(&name).is_err());
    assert!(namespace::exists(&name), "the failed attempt must not remove the first");
    drop(first);
    assert!(!namespace::exists(&name));
}

#[test]
fn errors_of_ip_say_where_and_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = Folder::open(folder.path()).expect("opened").prefix().name("errors");
    let namespace = Namespace::new(&name).expect("made");
    let error =
        namespace.ip(["link set lo up", "link set no-such up"]).expect_err("no such link").to_string();
    assert!(error.contains(&name) && error.contains("no-such"), "{error}");
}

#[test]
fn two_labs_run_side_by_side() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let labs = folders.each_ref().map(|root| {
        let (folder, ledger) = open(root.path());
        let network = Network::new(folder.prefix(), &ledger).expect("a network");
        let servers = Servers::start(&network.lan, &folder, &ledger).expect("servers");
        (network, servers)
    });
    for (network, servers) in &labs {
        for address in SERVER.sockets(port::HTTP) {
            let body =
                network.gateway.run(|| probe::get(address, "/", LIMIT)).expect("entered").expect("answered");
            assert_eq!(body, servers.body(), "each lab reaches its own server");
        }
    }
    assert_ne!(labs[0].1.body(), labs[1].1.body());
    let names: Vec<String> = labs.iter().map(|(network, _)| network.lan.name().to_owned()).collect();
    drop(labs);
    assert!(names.iter().all(|name| !namespace::exists(name)));
}

#[test]
fn clients_reach_the_wide_area_network_and_not_the_lan() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, ledger) = open(root.path());
    let network = Network::new(folder.prefix(), &ledger).expect("a network");
    for address in CONTROL.sockets(1) {
        let error = network.clients[0].run(|| probe::connect(address, LIMIT, Hops::Usual)).expect("entered");
        let kind = error.expect_err("no server").kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionRefused, "{address} is there, with nobody listening");
    }
    for address in SERVER.sockets(port::HTTP) {
        let outcome =
            network.clients[0].run(|| probe::connect(address, LIMIT, Hops::Usual)).expect("entered");
        assert_eq!(outcome.expect_err("no route").kind(), std::io::ErrorKind::NetworkUnreachable);
    }
}

#[test]
fn a_capture_sees_what_another_host_sends_and_its_mark() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, ledger) = open(root.path());
    let network = Network::new(folder.prefix(), &ledger).expect("a network");
    let capture = Capture::start(&network.lan).expect("a capture");
    for address in SERVER.sockets(4321) {
        network
            .gateway
            .run(|| probe::connect(address, LIMIT, Hops::Marked).expect_err("nobody listens"))
            .expect("entered");
    }
    let packets = capture.finish().expect("nothing missed");
    for address in SERVER.both() {
        let seen = packets.iter().filter(|packet| packet.destination == address && packet.port == Some(4321));
        assert_eq!(
            seen.map(|packet| packet.hops).collect::<Vec<_>>(),
            [MARKED_HOPS],
            "{address}: {packets:?}"
        );
    }
    assert!(packets.iter().all(|packet| !SERVER.both().contains(&packet.source)), "own packets are left out");
    assert_eq!(LAN_NETWORKS.len(), SERVER.both().len());
}
