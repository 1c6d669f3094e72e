//! Links of every width: of the tunnel, below it, on the way and behind the gateway.

use std::time::Duration;

use crate::net::{pattern, ping, ping_until_answered, transfer};
use crate::ns::Ns;
use crate::world::{World, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(5);
/// What a sealed packet is longer: header 16, tag 16.
const SEALED: u64 = 32;

/// Whether one ping that may not be cut, `length` bytes with its IPv4 header, is answered.
fn fits(from: &Ns, to: &str, length: usize) -> bool {
    let size = (length - 28).to_string();
    let mut ping = from.command("ping");
    ping.args(["-n", "-q", "-W", "1", "-c", "1", "-M", "do", "-s", &size, to]);
    ping.output().unwrap().status.success()
}

#[test]
fn a_tunnel_of_any_width_carries_packets_of_just_that_width() {
    let world = World::new();
    let client = world.client(1);
    world.gateway.ip("link set c1 mtu 9216");
    client.ns.ip("link set eth0 mtu 9216");
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    for mtu in [1280, 1419, 1500, 4000, 9000] {
        world.gateway.ip(&format!("link set wg0 mtu {mtu}"));
        client.ns.ip(&format!("link set {} mtu {mtu}", client.interface));
        wait_for("a full packet", SOON, || fits(&world.gateway, "10.8.0.11", mtu));
        assert!(fits(&client.ns, "10.8.0.1", mtu), "{mtu}");
        assert!(!fits(&world.gateway, "10.8.0.11", mtu + 1), "{mtu}: more is too much");
        let bytes = pattern(1 << 20, mtu as u64);
        transfer(&client.ns, &world.gateway, "fd08::1".parse().unwrap(), &bytes);
        transfer(&world.gateway, &client.ns, "10.8.0.11".parse().unwrap(), &bytes);
    }
}

#[test]
fn padding_follows_the_width_that_the_link_is_given_later() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    // No multiples of 16: padding that followed another width would go beyond.
    for mtu in [1301, 1411] {
        world.gateway.ip(&format!("link set wg0 mtu {mtu}"));
        let full = mtu as u64 + SEALED;
        wait_for("a full packet without padding", SOON, || {
            let before = status(&engine, client.public_key).sent_bytes;
            let answered = fits(&world.gateway, "10.8.0.11", mtu);
            answered && status(&engine, client.public_key).sent_bytes == before + full
        });
        let before = status(&engine, client.public_key).sent_bytes;
        assert!(fits(&world.gateway, "10.8.0.11", 1001));
        assert_eq!(
            status(&engine, client.public_key).sent_bytes,
            before + 1008 + SEALED,
            "shorter ones are padded"
        );
    }
}

#[test]
fn a_router_on_the_way_with_a_narrower_link_is_no_obstacle() {
    let world = World::new();
    let client = world.routed_client(1);
    let router = client.router();
    world.gateway.ip("link set c1 mtu 1500");
    router.ip("link set inside mtu 1300");
    client.ns.ip("link set eth0 mtu 1300");
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    let bytes = pattern(1 << 20, 5);
    for gateway in ["10.77.1.1:51820", "[fd77:1::1]:51820"] {
        client.join(engine.public_key(), gateway.parse().unwrap());
        ping_until_answered(&client.ns, "10.8.0.1", SOON);
        transfer(&client.ns, &world.gateway, "10.8.0.1".parse().unwrap(), &bytes);
        transfer(&world.gateway, &client.ns, "10.8.0.11".parse().unwrap(), &bytes);
        assert!(fits(&world.gateway, "10.8.0.11", 1420), "whole inside, in pieces outside");
    }
}

#[test]
fn a_narrow_link_behind_the_gateway_is_told_through_the_tunnel() {
    let world = World::new();
    let client = world.client(1);
    let lan = world.lan(1280);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    client.wg(&format!(
        "set {} peer {} allowed-ips 10.8.0.0/24,fd08::/64,10.78.0.0/24,fd78::/64",
        client.interface,
        engine.public_key()
    ));
    client.ns.ip(&format!("route add 10.78.0.0/24 dev {}", client.interface));
    client.ns.ip(&format!("route add fd78::/64 dev {}", client.interface));
    ping_until_answered(&client.ns, "10.78.0.2", SOON);
    assert!(!fits(&client.ns, "10.78.0.2", 1400), "it is told, and nothing arrives");
    assert!(client.ns.ip("route get 10.78.0.2").contains("mtu 1280"), "what it was told is remembered");
    let bytes = pattern(1 << 20, 6);
    for address in ["10.78.0.2", "fd78::2"] {
        transfer(&client.ns, &lan, address.parse().unwrap(), &bytes);
    }
    assert!(ping(&client.ns, "10.78.0.2", 1));
}
