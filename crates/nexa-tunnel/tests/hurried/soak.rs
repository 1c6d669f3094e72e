//! Twenty peers for minutes, which are ten times as many for WireGuard. `cargo xtask soak tunnel` runs it for longer.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use nexa_tunnel::{Engine, PeerConfig, PrivateKey, Tun};

use crate::clock::SPEED;
use crate::flow::Flow;
use crate::injector::{Harm, Injector};
use crate::ns::Ns;
use crate::world::{World, status};

const PEERS: u8 = 20;
/// Datagrams of a flow are so far apart, half a second for WireGuard.
const PACE: Duration = Duration::from_millis(50);
/// A session that is deaf is so for 15 seconds of WireGuard's: 30 datagrams. A flow that none of so many gets through
/// has stalled.
const STALL: u64 = 24;

/// A client with our engine.
struct Client {
    n: u8,
    ns: Ns,
    engine: Engine,
    injector: Option<Injector>,
}

#[test]
fn twenty_peers_rekey_and_none_goes_deaf() {
    let minutes = std::env::var("NEXA_SOAK_MINUTES").map_or(3.0, |text| text.parse::<f64>().unwrap());
    let seed = seed();
    println!("NEXA_SEED={seed}, {minutes} minutes");
    let world = World::new();
    let gateway = world.start();
    let keys: Vec<PrivateKey> = (1..=PEERS).map(|_| PrivateKey::generate()).collect();
    let clients: Vec<Client> =
        (1..=PEERS).zip(&keys).map(|(n, key)| client(&world, n, key.clone(), seed)).collect();
    gateway
        .set_peers(clients.iter().zip(&keys).map(|(client, key)| at_gateway(client, key)).collect())
        .unwrap();
    let mut flows: Vec<Flow> = clients.iter().flat_map(|client| flows(&world, client)).collect();

    let mut handshakes: Vec<HashSet<SystemTime>> = vec![HashSet::new(); clients.len()];
    let start = SystemTime::now();
    let mut turns = 0_u32;
    while start.elapsed().unwrap().as_secs_f64() < minutes * 60.0 {
        flows.iter_mut().for_each(Flow::step);
        if turns.is_multiple_of(20) {
            for (seen, key) in handshakes.iter_mut().zip(&keys) {
                seen.extend(status(&gateway, key.public_key()).last_handshake);
            }
        }
        turns += 1;
        std::thread::sleep(PACE);
    }
    std::thread::sleep(PACE * 10);
    for flow in &mut flows {
        flow.collect();
        println!(
            "{}: {} of {} arrived, at most {} silent",
            flow.name, flow.arrived, flow.sent, flow.longest_silence
        );
    }
    let rekeys: Vec<usize> = handshakes.iter().map(HashSet::len).collect();
    println!("handshakes: {rekeys:?}");
    let stalled: Vec<&str> =
        flows.iter().filter(|flow| flow.longest_silence > STALL).map(|flow| flow.name.as_str()).collect();
    assert!(stalled.is_empty(), "stalled: {stalled:?}");
    let lossy: Vec<&str> = flows
        .iter()
        .filter(|flow| !flow.name.contains("bad network") && flow.arrived < flow.sent)
        .map(|flow| flow.name.as_str())
        .collect();
    assert!(lossy.is_empty(), "rekeys lost packets: {lossy:?}");
    // Each two minutes; when only the gateway talks, after 165 seconds.
    let expected = (minutes * 60.0 * SPEED as f64 / 200.0) as usize;
    assert!(rekeys.iter().all(|count| *count >= expected.max(1)), "{expected} expected: {rekeys:?}");
}

/// Client `n` on a network of its own. Every fifth has a bad one.
fn client(world: &World, n: u8, key: PrivateKey, seed: u64) -> Client {
    let ns = Ns::new(&format!("{}s{n}", world.gateway.name()));
    world.join(&ns, n);
    let listens = SocketAddr::new(IpAddr::from([10, 77, n, 1]), 51820);
    let injector = n.is_multiple_of(5).then(|| {
        let harm = Harm { lost: 50, doubled: 50, corrupted: 10, delay: Duration::from_millis(300) };
        Injector::start(&world.gateway, listens, ([127, 0, 0, 1], 51820).into(), harm, seed + u64::from(n))
    });
    let engine = ns.run(|| Engine::start(Tun::open("wg0", 1420).unwrap(), key, 51820).unwrap());
    engine
        .set_peers(vec![PeerConfig {
            public_key: world.private.public_key(),
            allowed_ips: vec!["10.8.0.0/24".parse().unwrap()],
            endpoint: Some(injector.as_ref().map_or(listens, Injector::place)),
            preshared_key: None,
            persistent_keepalive: None,
        }])
        .unwrap();
    ns.ip(&format!("addr add 10.8.0.{}/24 dev wg0", 10 + n));
    ns.ip("link set wg0 up");
    Client { n, ns, engine, injector }
}

/// The gateway knows where its peers are, so that either end may begin, and both at once.
fn at_gateway(client: &Client, key: &PrivateKey) -> PeerConfig {
    let place = SocketAddr::new(IpAddr::from([10, 77, client.n, 2]), 51820);
    PeerConfig {
        public_key: key.public_key(),
        allowed_ips: vec![format!("10.8.0.{}", 10 + client.n).parse().unwrap()],
        endpoint: client.injector.is_none().then_some(place),
        preshared_key: None,
        persistent_keepalive: None,
    }
}

/// Up, down or both.
fn flows(world: &World, client: &Client) -> Vec<Flow> {
    let n = client.n;
    let network = client.injector.as_ref().map_or("", |_| " over a bad network");
    let socket = |ns: &Ns, host: u8| ns.run(|| UdpSocket::bind((IpAddr::from([10, 8, 0, host]), 0)).unwrap());
    let up = || Flow::new(format!("{n} up{network}"), socket(&client.ns, 10 + n), socket(&world.gateway, 1));
    let down =
        || Flow::new(format!("{n} down{network}"), socket(&world.gateway, 1), socket(&client.ns, 10 + n));
    match (n % 3, &client.injector) {
        (0, _) => vec![up(), down()],
        // Who only hears from a client through a relay does not know where it is.
        (1, _) | (_, Some(_)) => vec![up()],
        _ => vec![down()],
    }
}

fn seed() -> u64 {
    let given = std::env::var("NEXA_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        now.subsec_nanos().into()
    })
}
