//! Clients behind a NAT that forgets them after three seconds.

use std::time::Duration;

use nexa_tunnel::{Engine, PeerConfig, PrivateKey, Tun};

use crate::net::{ping, ping_until_answered};
use crate::world::{World, gateway_of, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(5);
const FORGETS_SECONDS: u32 = 3;
const LONGER: Duration = Duration::from_secs(2 * FORGETS_SECONDS as u64);

#[test]
fn persistent_keepalive_keeps_the_way_through_a_nat_open() {
    let world = World::new();
    let (kept, silent) = (world.routed_client(1), world.routed_client(2));
    for client in [&kept, &silent] {
        client.router().masquerade("outside", FORGETS_SECONDS);
    }
    let engine = world.start();
    engine.set_peers(vec![peer(&kept), peer(&silent)]).unwrap();
    kept.wg(&format!("set {} peer {} persistent-keepalive 1", kept.interface, engine.public_key()));
    for client in [&kept, &silent] {
        ping_until_answered(&client.ns, "10.8.0.1", SOON);
    }
    let before = [&kept, &silent].map(|client| status(&engine, client.public_key));
    for seen in &before {
        assert!(seen.endpoint.unwrap().ip().to_string().starts_with("10.77."), "the NAT's address");
    }
    // Not a wait for a condition: that nobody speaks for so long is what is tested.
    std::thread::sleep(LONGER);
    assert!(ping(&world.gateway, "10.8.0.11", 1), "the way is open");
    assert!(!ping(&world.gateway, "10.8.0.12", 1), "without keepalive the NAT has forgotten");
    let after = status(&engine, kept.public_key);
    assert_eq!((after.endpoint, after.last_handshake), (before[0].endpoint, before[0].last_handshake));

    // The one that was forgotten comes back at another port by its own packet, in its session.
    ping_until_answered(&silent.ns, "10.8.0.1", SOON);
    let after = status(&engine, silent.public_key);
    assert_ne!(after.endpoint, before[1].endpoint);
    assert_eq!(after.last_handshake, before[1].last_handshake);
    assert!(ping(&world.gateway, "10.8.0.12", 1));
}

#[test]
fn our_own_keepalive_keeps_it_open_too() {
    let world = World::new();
    let client = world.routed_client(1);
    client.router().masquerade("outside", FORGETS_SECONDS);
    let gateway = world.start();
    let private = PrivateKey::generate();
    let joined = PeerConfig {
        public_key: private.public_key(),
        allowed_ips: vec!["10.8.0.200".parse().unwrap()],
        ..peer(&client)
    };
    gateway.set_peers(vec![joined.clone()]).unwrap();
    let ours = client.ns.run(|| Engine::start(Tun::open("wg9", 1420).unwrap(), private.clone(), 0).unwrap());
    ours.set_peers(vec![PeerConfig {
        public_key: gateway.public_key(),
        allowed_ips: vec!["10.8.0.0/24".parse().unwrap()],
        endpoint: Some(gateway_of(1)),
        preshared_key: None,
        persistent_keepalive: Some(1),
    }])
    .unwrap();
    client.ns.ip("addr add 10.8.0.200/32 dev wg9");
    client.ns.ip("link set wg9 up");
    // Nobody sends anything: keepalive is what opens the way.
    wait_for("a session", SOON, || status(&gateway, joined.public_key).last_handshake.is_some());
    let before = status(&gateway, joined.public_key);
    std::thread::sleep(LONGER);
    client.ns.ip("route add 10.8.0.1/32 dev wg9");
    assert!(ping(&world.gateway, "10.8.0.200", 1));
    let after = status(&gateway, joined.public_key);
    assert_eq!((after.endpoint, after.last_handshake), (before.endpoint, before.last_handshake));
}
