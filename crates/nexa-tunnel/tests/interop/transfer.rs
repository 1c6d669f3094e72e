use crate::net::{pattern, ping, ping_until_answered, transfer};
use crate::world::{World, peer, status, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn pings_pass_both_ways_over_both_families() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    assert_eq!(engine.set_peers(vec![peer(&client)]).unwrap().added, 1);
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    assert!(ping(&client.ns, "fd08::1", 3));
    assert!(ping(&world.gateway, "10.8.0.11", 3));
    assert!(ping(&world.gateway, "fd08::11", 3));
    let status = status(&engine, client.public_key);
    assert!(status.endpoint.is_some_and(|endpoint| endpoint.ip().to_string() == "10.77.1.2"));
    assert!(status.last_handshake.is_some_and(|at| at.elapsed().unwrap() < SOON));
}

#[test]
fn a_tcp_stream_arrives_unchanged_both_ways() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    let bytes = pattern(8 << 20, 1);
    transfer(&client.ns, &world.gateway, "10.8.0.1".parse().unwrap(), &bytes);
    transfer(&world.gateway, &client.ns, "10.8.0.11".parse().unwrap(), &bytes);
    transfer(&client.ns, &world.gateway, "fd08::1".parse().unwrap(), &bytes);
    transfer(&world.gateway, &client.ns, "fd08::11".parse().unwrap(), &bytes);
}

#[test]
fn both_ends_count_the_same_bytes() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    transfer(&client.ns, &world.gateway, "10.8.0.1".parse().unwrap(), &pattern(1 << 20, 2));
    wait_for("equal counters", SOON, || {
        let ours = status(&engine, client.public_key);
        client.transfer() == (ours.sent_bytes, ours.received_bytes)
    });
    assert!(status(&engine, client.public_key).received_bytes > 1 << 20);
}

#[test]
fn a_path_narrower_than_the_tunnel_still_carries_it() {
    for gateway in ["10.77.1.1:51820", "[fd77:1::1]:51820"] {
        let world = World::new();
        let client = world.client_at(1, gateway.parse().unwrap());
        world.gateway.ip("link set c1 mtu 1300");
        client.ns.ip("link set eth0 mtu 1300");
        let engine = world.start();
        engine.set_peers(vec![peer(&client)]).unwrap();
        let bytes = pattern(1 << 20, 4);
        transfer(&client.ns, &world.gateway, "10.8.0.1".parse().unwrap(), &bytes);
        transfer(&world.gateway, &client.ns, "10.8.0.11".parse().unwrap(), &bytes);
    }
}
