//! What is fuzzed, in order of what an attacker reaches without a key. A target panics when something is wrong.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;

use nexa_abi::packet;
use nexa_abi::xdp_guard::{self, Config, LocalKey, Tables};
use nexa_types::{Cidr, PortRange, Protocol, PublicKey};
use nexa_wire::gateway::{FromGateway, ToGateway};
use nexa_wire::local::{Answer, Request};
use nexa_wire::snapshot::{Sealed, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// All targets by name.
pub const ALL: &[(&str, fn(&[u8]))] = &[
    ("datagram", datagram),
    ("guard", guard),
    ("packet", packet),
    ("frame", nexa_tunnel::fuzzing::frame),
    ("join", nexa_tunnel::fuzzing::join),
    ("uapi", nexa_tunnel::fuzzing::uapi),
    ("stream", stream),
    ("snapshot", snapshot),
    ("local", local),
    ("words", words),
];

/// A datagram at the tunnel's port: ours and boringtun's parser agree about which message it is.
fn datagram(bytes: &[u8]) {
    let ours = nexa_tunnel::fuzzing::datagram(bytes);
    let theirs = boringtun::noise::Tunn::parse_incoming_packet(bytes).is_ok();
    assert_eq!(ours, theirs, "whether it is a message");
}

/// A frame at the uplink.
fn guard(bytes: &[u8]) {
    struct Host(Cell<u64>);
    impl Tables for Host {
        fn is_local(&self, key: &LocalKey) -> bool {
            key.address[3] & 1 == 0
        }

        fn receivers(&self, word: u32) -> u64 {
            u64::from(word) * 0x5555
        }

        fn now_ns(&self) -> u64 {
            1_000_000
        }

        fn budget_whole_ns(&self) -> u64 {
            self.0.get()
        }

        fn set_budget_whole_ns(&self, at: u64) {
            self.0.set(at);
        }
    }
    let [first, second, frame @ ..] = bytes else { return };
    let config = Config {
        port: [0xca, *first & 0xfc],
        flags: u16::from(*second & 3),
        initiation_interval_ns: 1000,
        initiation_burst_ns: 2000,
    };
    let host = Host(Cell::new(0));
    let verdict = xdp_guard::judge(frame, &config, &host);
    assert!(!verdict.is_drop() || frame.len() >= 14 + 20 + 8, "what has no UDP header is not ours to drop");
}

/// A packet of a device, as the programs read it.
fn packet(bytes: &[u8]) {
    if let Ok(read) = packet::parse(bytes) {
        // Of a later fragment only the first word is read: the host itself drops one that ends in its header.
        assert!(
            read.part == packet::Part::Later || read.header_bytes as usize <= bytes.len(),
            "headers end inside"
        );
        let mut again = read;
        assert!(packet::parse_into(bytes, &mut again).is_ok() && again == read, "twice the same");
    }
}

/// What the control plane says to a gateway, and a gateway to it.
fn stream(bytes: &[u8]) {
    stays::<FromGateway>(bytes);
    stays::<ToGateway>(bytes);
}

/// A snapshot, behind its seal and without one.
fn snapshot(bytes: &[u8]) {
    if let Ok(sealed) = serde_json::from_slice::<Sealed>(bytes) {
        let _ = sealed.open();
        let resealed = Sealed::of_text(sealed.revision, sealed.snapshot);
        let opened = resealed.open().is_ok();
        let read = serde_json::from_str::<Snapshot>(resealed.snapshot.get()).is_ok();
        assert!(read || !opened, "only what can be read is opened");
    }
    stays::<Snapshot>(bytes);
}

/// What is asked and answered over a gateway's local socket.
fn local(bytes: &[u8]) {
    stays::<Request>(bytes);
    stays::<Answer>(bytes);
}

/// Words of people, in rules, files and forms.
fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    reads_itself::<Cidr>(text);
    reads_itself::<PublicKey>(text);
    reads_itself::<PortRange>(text);
    reads_itself::<Protocol>(text);
    reads_itself::<IpAddr>(text);
}

/// What was read, written and read again is the same.
fn stays<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("again"), written);
}

/// What a value is shown as is that value.
fn reads_itself<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    assert_eq!(read.to_string().parse::<T>().expect("its own text"), read);
}
