//! Handshakes in numbers.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use nexa_tunnel::{DropReason, PrivateKey};

use crate::net::{ping, ping_until_answered};
use crate::world::{World, peer};

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
    let mut stranger = tunn(StaticSecret::from([3; 32]), gateway);
    let mut buffer = [0; 256];
    let flood: Vec<Vec<u8>> = (0..1500).map(|_| initiation(&mut stranger, &mut buffer)).collect();
    let socket = client.ns.run(|| UdpSocket::bind("10.77.1.2:0").unwrap());
    socket.connect("10.77.1.1:51820").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    for datagram in &flood {
        socket.send(datagram).unwrap();
    }
    // The member's first try is met with a cookie, its second carries the proof.
    let mut tunn = tunn(StaticSecret::from(*member.to_bytes()), gateway);
    socket.send(&initiation(&mut tunn, &mut buffer)).unwrap();
    let mut datagram = [0; 256];
    let (mut cookies, mut tries) = (0, 1);
    loop {
        let length = match socket.recv(&mut datagram) {
            Ok(length) => length,
            // Lost among the others, there or here: a client tries again.
            Err(error) if error.kind() == ErrorKind::WouldBlock && tries < 5 => {
                tries += 1;
                socket.send(&initiation(&mut tunn, &mut buffer)).unwrap();
                continue;
            }
            Err(error) => panic!("no cookie for the member after {tries} tries: {error}"),
        };
        cookies += usize::from(datagram[0] == 3);
        if let TunnResult::Done = tunn.decapsulate(None, &datagram[..length], &mut buffer) {
            break;
        }
    }
    assert!(cookies > 100, "{cookies} cookies");
    socket.send(&initiation(&mut tunn, &mut buffer)).unwrap();
    let length = socket.recv(&mut datagram).unwrap();
    assert_eq!((datagram[0], length), (2, 92), "a handshake response");

    let drops = engine.drops();
    assert!(drops.get(DropReason::CookieSent) as usize >= cookies);
    assert!(drops.get(DropReason::BadHandshake) >= 1000 - 100);
    assert!(ping(&client.ns, "10.8.0.1", 3), "the established peer is unharmed");
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
        crate::world::wait_for(reason.name(), SOON, || engine.drops().get(reason) == count);
    }
}

fn tunn(private: StaticSecret, gateway: PublicKey) -> Tunn {
    Tunn::new(private, gateway, None, None, 1, None)
}

fn initiation(tunn: &mut Tunn, buffer: &mut [u8]) -> Vec<u8> {
    match tunn.format_handshake_initiation(buffer, true) {
        TunnResult::WriteToNetwork(message) => message.to_vec(),
        other => panic!("{other:?}"),
    }
}
