//! A network that loses, doubles, reorders, corrupts and delays, by our own injector.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nexa_tunnel::DropReason;

use crate::injector::{Harm, Injector};
use crate::net::{pattern, ping_until_answered, transfer};
use crate::world::{World, gateway_of, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(10);
/// Datagrams each way. They leave in bursts that the sockets between have room for.
const COUNT: u32 = 4000;
const BURST: u32 = 50;

/// A gateway, and a client whose every datagram goes through an injector on the gateway's host.
macro_rules! rough {
    ($world:ident, $client:ident, $engine:ident, $injector:ident, $harm:expr) => {
        let $world = World::new();
        let $client = $world.client(1);
        let $engine = $world.start();
        $engine.set_peers(vec![peer(&$client)]).unwrap();
        let seed = seed();
        println!("NEXA_SEED={seed}");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 51820));
        let $injector = Injector::start(&$world.gateway, gateway_of(1), loopback, $harm, seed);
        $client.join($engine.public_key(), $injector.place());
    };
}

/// The seed of this run, or that of another.
fn seed() -> u64 {
    let given = std::env::var("NEXA_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.subsec_nanos().into()
    })
}

#[test]
fn what_is_doubled_reordered_or_corrupted_arrives_once_and_whole_or_not_at_all() {
    let harm = Harm { lost: 20, doubled: 300, corrupted: 50, delay: Duration::from_millis(3) };
    rough!(world, client, engine, injector, harm);
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    let (here, there) = (
        world.gateway.run(|| UdpSocket::bind("10.8.0.1:0").unwrap()),
        client.ns.run(|| UdpSocket::bind("10.8.0.11:0").unwrap()),
    );
    for (from, to) in [(&there, &here), (&here, &there)] {
        let mut seen = vec![0_u8; COUNT as usize];
        for n in 0..COUNT {
            from.send_to(&numbered(n), to.local_addr().unwrap()).unwrap();
            if n % BURST == BURST - 1 {
                collect(to, &mut seen, Duration::from_millis(20));
            }
        }
        collect(to, &mut seen, Duration::from_millis(200));
        let arrived = seen.iter().filter(|count| **count > 0).count();
        assert!(seen.iter().all(|count| *count <= 1), "one arrived twice");
        assert!(arrived > COUNT as usize * 8 / 10, "only {arrived} of {COUNT} arrived");
    }
    let (drops, done) = (engine.drops(), injector.end());
    println!("{done:?}");
    assert!(done.doubled > 1000 && done.corrupted > 100 && done.lost > 50, "{done:?}");
    // A bit of the counter is one of the message, too: what is authentic and old is a replay.
    assert!(drops.get(DropReason::Replay) > 300, "{}", drops.get(DropReason::Replay));
    let refused = [DropReason::BadData, DropReason::UnknownReceiver, DropReason::Malformed];
    assert!(refused.iter().map(|reason| drops.get(*reason)).sum::<u64>() > 50);
}

/// A datagram that says which it is, 60 times.
fn numbered(n: u32) -> Vec<u8> {
    n.to_be_bytes().repeat(60)
}

/// Counts what comes until nothing has come for a while.
fn collect(socket: &UdpSocket, seen: &mut [u8], quiet: Duration) {
    socket.set_read_timeout(Some(quiet)).unwrap();
    let mut datagram = [0; 2048];
    while let Ok(length) = socket.recv(&mut datagram) {
        let n = u32::from_be_bytes(datagram[..4].try_into().unwrap());
        assert!(datagram[..length] == numbered(n), "a datagram has changed");
        seen[n as usize] += 1;
    }
}

#[test]
fn a_stream_gets_through_a_bad_network_unchanged() {
    let harm = Harm { lost: 5, doubled: 20, corrupted: 5, delay: Duration::from_millis(1) };
    rough!(world, client, engine, injector, harm);
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    let bytes = pattern(2 << 20, 7);
    transfer(&client.ns, &world.gateway, "10.8.0.1".parse().unwrap(), &bytes);
    transfer(&world.gateway, &client.ns, "fd08::11".parse().unwrap(), &bytes);
    let done = injector.end();
    assert!(done.lost > 0 && done.doubled > 0 && done.corrupted > 0, "{done:?}");
}

#[test]
fn a_handshake_that_loses_half_of_its_messages_comes_through_at_last() {
    let harm = Harm { lost: 500, doubled: 500, corrupted: 0, delay: Duration::ZERO };
    rough!(world, client, engine, injector, harm);
    let key = client.public_key;
    // Each try of theirs takes five seconds, so ours come between.
    wait_for("a session", Duration::from_secs(60), || {
        client.ns.run(|| {
            let socket = UdpSocket::bind("10.8.0.11:0").unwrap();
            let _ = socket.send_to(b"?", "10.8.0.1:9");
        });
        std::thread::sleep(Duration::from_millis(100));
        status(&engine, key).last_handshake.is_some()
    });
    assert_eq!(status(&engine, key).endpoint.unwrap().ip().to_string(), "127.0.0.1");
    drop(injector);
}

#[test]
fn a_recorded_handshake_and_recorded_data_sent_again_change_nothing() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    // A relay that remembers: it stands where the gateway is expected.
    let outside = world.gateway.run(|| UdpSocket::bind("10.77.1.1:0").unwrap());
    let inside = world.gateway.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    inside.connect("127.0.0.1:51820").unwrap();
    for socket in [&outside, &inside] {
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    }
    client.join(engine.public_key(), outside.local_addr().unwrap());
    let pinging = client
        .ns
        .command("ping")
        .args(["-n", "-q", "-c", "5", "-i", "0.1", "10.8.0.1"])
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut pinging = pinging.unwrap();
    let (mut recorded, mut buffer) = (Vec::new(), [0; 2048]);
    while pinging.try_wait().unwrap().is_none() {
        if let Ok((length, from)) = outside.recv_from(&mut buffer) {
            recorded.push(buffer[..length].to_vec());
            inside.send(&buffer[..length]).unwrap();
            if let Ok(length) = inside.recv(&mut buffer) {
                outside.send_to(&buffer[..length], from).unwrap();
            }
        }
    }
    let before = status(&engine, client.public_key);
    assert!(before.last_handshake.is_some() && recorded.len() >= 6, "{} messages", recorded.len());
    let thief = client.ns.run(|| UdpSocket::bind("10.77.1.2:0").unwrap());
    for datagram in &recorded {
        thief.send_to(datagram, gateway_of(1)).unwrap();
    }
    let refused = |reason| engine.drops().get(reason);
    let data = recorded.iter().filter(|datagram| datagram[0] == 4).count() as u64;
    wait_for("refusals", SOON, || {
        refused(DropReason::Replay) >= data && refused(DropReason::BadHandshake) >= 1
    });
    assert_eq!(status(&engine, client.public_key), before, "endpoint, session and counters are as before");
}
