//! Where peers are, and where answers come from.

use std::net::SocketAddr;
use std::time::Duration;

use crate::net::{ping, ping_until_answered};
use crate::world::{World, gateway_of, known_peer, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_client_that_moves_is_followed_at_its_next_packet() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    let before = status(&engine, client.public_key);

    client.ns.ip("addr del 10.77.1.2/24 dev eth0");
    client.ns.ip("addr add 10.77.1.99/24 dev eth0");
    // wireguard-go sticks to its address, gone or not, until it is told the gateway's endpoint again.
    client.wg(&format!("set {} peer {} endpoint {}", client.interface, engine.public_key(), gateway_of(1)));
    let took = ping_until_answered(&client.ns, "10.8.0.1", SOON);

    let after = status(&engine, client.public_key);
    assert_eq!(after.endpoint.unwrap().ip().to_string(), "10.77.1.99");
    assert_eq!(after.last_handshake, before.last_handshake, "the session goes on");
    assert!(ping(&world.gateway, "10.8.0.11", 3), "towards the client too");
    println!("recovery after roaming: {} ms", took.as_millis());
}

#[test]
fn a_client_may_change_to_another_family() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "fd08::1", SOON);
    let at_v6 = SocketAddr::new("fd77:1::1".parse().unwrap(), 51820);
    client.wg(&format!("set {} peer {} endpoint {at_v6}", client.interface, engine.public_key()));
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    assert_eq!(status(&engine, client.public_key).endpoint.unwrap().ip().to_string(), "fd77:1::2");
    assert!(ping(&world.gateway, "10.8.0.11", 3));
}

#[test]
fn answers_leave_from_the_address_the_client_knows() {
    for second in ["10.77.1.200", "fd77:1::200"] {
        let world = World::new();
        let known = SocketAddr::new(second.parse().unwrap(), 51820);
        let client = world.client_at(1, known);
        let length = if known.is_ipv4() { 24 } else { 64 };
        world.gateway.ip(&format!("addr add {second}/{length} dev c1 nodad"));
        let engine = world.start();
        engine.set_peers(vec![peer(&client)]).unwrap();
        ping_until_answered(&client.ns, "10.8.0.1", SOON);
        assert!(ping(&world.gateway, "10.8.0.11", 3));
        // wireguard-go follows the source of what it gets: an answer from the first address would show here.
        let endpoints = client.wg(&format!("show {} endpoints", client.interface));
        assert_eq!(endpoints.split_whitespace().nth(1), Some(known.to_string().as_str()));
    }
}

#[test]
fn answers_still_leave_when_the_address_the_client_knew_is_gone() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    world.gateway.ip("addr del 10.77.1.1/24 dev c1");
    world.gateway.ip("addr add 10.77.1.7/24 dev c1");
    ping_until_answered(&world.gateway, "10.8.0.11", SOON);
    assert!(ping(&client.ns, "10.8.0.1", 3));
}

#[test]
fn a_first_packet_waits_for_the_handshake_and_is_not_lost() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![known_peer(&client)]).unwrap();
    assert!(ping(&world.gateway, "10.8.0.11", 1), "the very first ping");
}

#[test]
fn persistent_keepalive_keeps_a_silent_peer_known() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    let mut wanted = known_peer(&client);
    wanted.persistent_keepalive = Some(1);
    engine.set_peers(vec![wanted]).unwrap();
    // The handshake comes of itself; then an empty message of 32 bytes every second, and nothing else.
    let key = client.public_key;
    wait_for("a handshake", SOON, || status(&engine, key).last_handshake.is_some());
    let handshake = status(&engine, key).sent_bytes;
    let took = wait_for("two keepalives", SOON, || status(&engine, key).sent_bytes >= handshake + 64);
    assert_eq!(status(&engine, key).sent_bytes, handshake + 64);
    assert!(took > Duration::from_millis(1500), "{took:?}");
}
