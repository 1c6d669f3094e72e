//! Who may do what, and that one peer's change is no other peer's business.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nexa_tunnel::{DropReason, Engine, PeerChanges, PeerError, Psk, Receivers};

use crate::net::{pattern, ping, ping_until_answered, transfer};
use crate::world::{World, gateway_of, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn peers_come_and_go_without_disturbing_another() {
    let world = World::new();
    let (steady, other) = (world.client(1), world.client(2));
    let engine = world.start();
    engine.set_peers(vec![peer(&steady)]).unwrap();
    ping_until_answered(&steady.ns, "10.8.0.1", SOON);
    let before = status(&engine, steady.public_key);

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = pattern(4 << 20, 3);
            for _ in 0..4 {
                transfer(&steady.ns, &world.gateway, "10.8.0.1".parse().unwrap(), &bytes);
                transfer(&world.gateway, &steady.ns, "10.8.0.11".parse().unwrap(), &bytes);
            }
            done.store(true, Ordering::Release);
        });
        let mut turns = 0;
        while !done.load(Ordering::Acquire) || turns < 2 {
            let added = engine.set_peers(vec![peer(&other), peer(&steady)]).unwrap();
            assert_eq!(added, PeerChanges { added: 1, changed: 0, removed: 0 });
            ping_until_answered(&other.ns, "10.8.0.1", SOON);
            let removed = engine.set_peers(vec![peer(&steady)]).unwrap();
            assert_eq!(removed, PeerChanges { added: 0, changed: 0, removed: 1 });
            assert!(!other.ns.run(|| answers("10.8.0.1:9")), "a removed peer is out at once");
            // The client that was out would keep its dead session for 15 s.
            other.join(engine.public_key(), gateway_of(2));
            turns += 1;
        }
    });
    let after = status(&engine, steady.public_key);
    assert_eq!(after.last_handshake, before.last_handshake, "the same session all along");
    assert_eq!(after.endpoint, before.endpoint);
    assert!(after.received_bytes > before.received_bytes + (16 << 20));
}

/// Whether a UDP port without a listener answers (by refusing) within a quarter of a second.
fn answers(to: &str) -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    socket.send(b"?").unwrap();
    matches!(socket.recv(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn a_source_that_is_anothers_or_nobodys_is_dropped_and_counted() {
    let world = World::new();
    let (honest, liar) = (world.client(1), world.client(2));
    let engine = world.start();
    let mut wide = peer(&liar);
    wide.allowed_ips.push("10.8.0.0/24".parse().unwrap());
    engine.set_peers(vec![peer(&honest), wide]).unwrap();
    ping_until_answered(&honest.ns, "10.8.0.1", SOON);
    ping_until_answered(&liar.ns, "10.8.0.1", SOON);

    let listener = world.gateway.run(|| UdpSocket::bind("[::]:7777").unwrap());
    listener.set_read_timeout(Some(SOON)).unwrap();
    let before = engine.drops().get(DropReason::WrongSource);
    // The honest one's address lies within the liar's wider prefix, but its own is longer. 10.9.0.1 is nobody's.
    let forged = ["10.8.0.11", "fd08::11", "10.9.0.1", "fd09::1"];
    for source in forged {
        let length = if source.contains(':') { 128 } else { 32 };
        liar.ns.ip(&format!("addr add {source}/{length} dev {} nodad", liar.interface));
    }
    liar.ns.run(|| {
        for source in forged {
            send(source, b"forged");
        }
        send("10.8.0.12", b"own");
    });
    let mut received = [0; 16];
    let (length, from) = listener.recv_from(&mut received).unwrap();
    assert_eq!(&received[..length], b"own", "from {from}");
    wait_for("the drops", SOON, || engine.drops().get(DropReason::WrongSource) >= before + 4);
}

fn send(source: &str, bytes: &[u8]) {
    let to = if source.contains(':') { "[fd08::1]:7777" } else { "10.8.0.1:7777" };
    UdpSocket::bind((source, 0)).unwrap().send_to(bytes, to).unwrap();
}

#[test]
fn a_prefix_can_move_from_one_peer_to_another_in_one_step() {
    let world = World::new();
    let (first, second) = (world.client(1), world.client(2));
    let engine = world.start();
    let (mut a, mut b) = (peer(&first), peer(&second));
    engine.set_peers(vec![a.clone(), b.clone()]).unwrap();
    std::mem::swap(&mut a.allowed_ips, &mut b.allowed_ips);
    let swapped = engine.set_peers(vec![a.clone(), b.clone()]).unwrap();
    assert_eq!(swapped, PeerChanges { added: 0, changed: 2, removed: 0 });
    first.ns.ip(&format!("addr del 10.8.0.11/24 dev {}", first.interface));
    first.ns.ip(&format!("addr add 10.8.0.12/24 dev {}", first.interface));
    ping_until_answered(&first.ns, "10.8.0.1", SOON);
    assert!(ping(&world.gateway, "10.8.0.12", 1));
    a.allowed_ips.clear();
    engine.set_peers(vec![a, b]).unwrap();
    assert!(!ping(&first.ns, "10.8.0.1", 1), "what was taken away is gone");
}

#[test]
fn a_refused_set_changes_nothing() {
    let world = World::new();
    let (client, other) = (world.client(1), world.client(2));
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    let mut overlapping = peer(&other);
    overlapping.allowed_ips = peer(&client).allowed_ips;
    let refused = engine.set_peers(vec![overlapping, peer(&client)]);
    assert!(matches!(refused, Err(PeerError::Overlap { .. })), "{refused:?}");
    assert_eq!(engine.peers().len(), 1);
    assert!(ping(&client.ns, "10.8.0.1", 3));
}

#[test]
fn only_the_right_preshared_key_gets_through_and_it_can_be_changed() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    let mut wanted = peer(&client);
    wanted.preshared_key = Some(Psk::from_bytes(*b"0123456789abcdef0123456789abcdef"));
    engine.set_peers(vec![wanted.clone()]).unwrap();
    assert!(!ping(&client.ns, "10.8.0.1", 1), "without the key");
    client.join(engine.public_key(), gateway_of(1));
    let peer_psk = format!("peer {} preshared-key /dev/stdin", engine.public_key());
    client.wg_set_secret(&peer_psk, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    ping_until_answered(&client.ns, "10.8.0.1", SOON);

    wanted.preshared_key = Some(Psk::from_bytes([7; 32]));
    assert_eq!(engine.set_peers(vec![wanted]).unwrap().changed, 1);
    assert!(!ping(&client.ns, "10.8.0.1", 1), "the old key is out at once");
}

/// Writes down what it is told, with how many peers the engine had then.
struct Told<'a> {
    engine: &'a Engine,
    words: Vec<(&'static str, Vec<u32>, usize)>,
}

impl Receivers for Told<'_> {
    fn admit(&mut self, prefixes: &[u32]) {
        self.words.push(("admit", prefixes.to_vec(), self.engine.peers().len()));
    }

    fn retire(&mut self, prefixes: &[u32]) {
        self.words.push(("retire", prefixes.to_vec(), self.engine.peers().len()));
    }
}

#[test]
fn receivers_are_admitted_before_the_engine_uses_them_and_retired_when_it_does_not() {
    let world = World::new();
    let (one, two) = (world.client(1), world.client(2));
    let engine = world.start();
    let mut told = Told { engine: &engine, words: Vec::new() };
    engine.set_peers_announced(vec![peer(&one)], &mut told).unwrap();
    engine.set_peers_announced(vec![peer(&one), peer(&two)], &mut told).unwrap();
    engine.set_peers_announced(vec![peer(&two)], &mut told).unwrap();
    let [("admit", first, 0), ("retire", none, 1), rest @ ..] = &told.words[..] else {
        panic!("{:?}", told.words)
    };
    let [("admit", second, 1), ("retire", still_none, 2), ("admit", no_more, 2), ("retire", gone, 1)] = rest
    else {
        panic!("{:?}", told.words)
    };
    assert!(none.is_empty() && still_none.is_empty() && no_more.is_empty());
    assert!(first.len() == 1 && second.len() == 1 && first != second && first[0] >> 24 == 0);
    assert_eq!(gone, first);
}
