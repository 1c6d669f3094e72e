//! Handshakes in numbers.

use std::net::UdpSocket;
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use nexa_tunnel::{DropReason, PeerConfig, PrivateKey};

use crate::net::{ping, ping_until_answered};
use crate::ns::Ns;
use crate::world::{World, peer, wait_for};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn under_a_flood_a_cookie_is_demanded_and_who_returns_it_gets_in() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    let member = PrivateKey::generate();
    let mut joined = peer(&client);
    joined.public_key = member.public_key();
    joined.allowed_ips = vec!["10.8.0.200".parse().unwrap()];
    engine.set_peers(vec![peer(&client), joined]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);

    // Strangers with a right first MAC, as everyone who knows the public key can make them.
    let gateway = PublicKey::from(*engine.public_key().as_bytes());
    let flood = strangers(1500, gateway);
    let mut member = Member::new(&client.ns, "10.77.1.2", gateway, &member);
    // Load is counted by the second, so it is made again until it all falls into one.
    wait_for("a cookie for the member", 4 * SOON, || {
        member.flood(&flood);
        member.begin();
        member.hear();
        member.has_cookie
    });
    assert!(member.cookies > 100, "{} cookies", member.cookies);
    // Its next try carries the proof.
    let before = member.answers;
    member.begin();
    member.hear();
    assert_eq!(member.answers, before + 1, "a handshake response");

    let drops = engine.drops();
    assert!(drops.get(DropReason::CookieSent) as usize >= member.cookies);
    assert!(drops.get(DropReason::BadHandshake) >= 1000 - 100);
    assert!(ping(&client.ns, "10.8.0.1", 3), "the established peer is unharmed");
}

#[test]
fn who_has_returned_a_cookie_still_gets_no_more_than_a_source_s_share() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    let keys = [PrivateKey::generate(), PrivateKey::generate()];
    let members = keys.iter().zip(["10.8.0.200", "10.8.0.201"]).map(|(key, inner)| PeerConfig {
        public_key: key.public_key(),
        allowed_ips: vec![inner.parse().unwrap()],
        ..peer(&client)
    });
    engine.set_peers(members.chain([peer(&client)]).collect()).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    client.ns.ip("addr add 10.77.1.3/24 dev eth0");
    let gateway = PublicKey::from(*engine.public_key().as_bytes());
    let flood = strangers(1100, gateway);
    // Two who return the cookies they are sent, each at an address of its own.
    let mut greedy = Member::new(&client.ns, "10.77.1.2", gateway, &keys[0]);
    let mut modest = Member::new(&client.ns, "10.77.1.3", gateway, &keys[1]);
    let limited = || engine.drops().get(DropReason::SourceLimit);
    wait_for("a limit", 4 * SOON, || {
        greedy.flood(&flood);
        for member in [&mut greedy, &mut modest] {
            member.begin();
            member.hear();
        }
        let before = (limited(), modest.answers);
        for _ in 0..20 {
            greedy.begin();
        }
        modest.begin();
        modest.hear();
        limited() >= before.0 + 10 && modest.answers > before.1
    });
    assert!(ping(&client.ns, "10.8.0.1", 3), "the established peer is unharmed");
}

/// Handshakes of somebody who is no peer.
fn strangers(count: usize, gateway: PublicKey) -> Vec<Vec<u8>> {
    let mut stranger = tunn(StaticSecret::from([3; 32]), gateway);
    (0..count).map(|_| initiation(&mut stranger)).collect()
}

/// A peer that does nothing but begin handshakes.
struct Member {
    socket: UdpSocket,
    tunn: Tunn,
    cookies: usize,
    has_cookie: bool,
    answers: usize,
}

impl Member {
    fn new(ns: &Ns, address: &str, gateway: PublicKey, key: &PrivateKey) -> Self {
        let socket = ns.run(|| UdpSocket::bind((address, 0)).unwrap());
        socket.connect("10.77.1.1:51820").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let tunn = tunn(StaticSecret::from(*key.to_bytes()), gateway);
        Self { socket, tunn, cookies: 0, has_cookie: false, answers: 0 }
    }

    /// Sends what others have made.
    fn flood(&self, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.socket.send(datagram).unwrap();
        }
    }

    fn begin(&mut self) {
        let begun = initiation(&mut self.tunn);
        self.socket.send(&begun).unwrap();
    }

    /// Takes what comes until it is quiet. Only the cookie for its own last try is one for it.
    fn hear(&mut self) {
        let mut datagram = [0; 256];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            self.cookies += usize::from(datagram[0] == 3);
            self.answers += usize::from(datagram[0] == 2);
            let mut out = [0; 256];
            let taken = self.tunn.decapsulate(None, &datagram[..length], &mut out);
            self.has_cookie |= matches!(taken, TunnResult::Done);
        }
    }
}

#[test]
fn junk_is_dropped_by_its_first_fault() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    let socket = client.ns.run(|| UdpSocket::bind("10.77.1.2:0").unwrap());
    let message = |kind: u8, length: usize| {
        let mut datagram = vec![0; length];
        datagram[0] = kind;
        socket.send_to(&datagram, "10.77.1.1:51820").unwrap();
    };
    message(9, 100);
    message(1, 147);
    message(1, 148);
    message(4, 64);
    for (reason, count) in
        [(DropReason::Malformed, 2), (DropReason::BadMac, 1), (DropReason::UnknownReceiver, 1)]
    {
        wait_for(reason.name(), SOON, || engine.drops().get(reason) == count);
    }
}

fn tunn(private: StaticSecret, gateway: PublicKey) -> Tunn {
    Tunn::new(private, gateway, None, None, 1, None)
}

fn initiation(tunn: &mut Tunn) -> Vec<u8> {
    match tunn.format_handshake_initiation(&mut [0; 256], true) {
        TunnResult::WriteToNetwork(message) => message.to_vec(),
        other => panic!("{other:?}"),
    }
}
