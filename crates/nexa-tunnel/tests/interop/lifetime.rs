//! The engine ends and begins again; the interface stays.

use std::time::{Duration, Instant};

use nexa_tunnel::{DropReason, Engine, EngineError, PeerError, Tun, TunError};

use crate::net::{ping, ping_until_answered};
use crate::world::{World, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_restart_on_the_same_device_with_known_endpoints_recovers_at_once() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    let endpoint = status(&engine, client.public_key).endpoint.unwrap();
    world.gateway.ip("route add 10.200.0.0/16 dev wg0");
    let link = |ip: String| ip.lines().next().unwrap().split(':').next().unwrap().to_owned();
    let before = link(world.gateway.ip("-o link show wg0"));
    drop(engine);
    assert!(!ping(&client.ns, "10.8.0.1", 1));
    assert!(
        world.gateway.ip("route show dev wg0").contains("10.200.0.0/16"),
        "the route outlives the engine"
    );

    let start = Instant::now();
    let engine = world.start();
    assert_eq!(link(world.gateway.ip("-o link show wg0")), before, "the same interface");
    engine.set_peers(vec![peer(&client)]).unwrap();
    engine.restore_endpoints(vec![(client.public_key, endpoint)]).unwrap();
    wait_for("a handshake", SOON, || status(&engine, client.public_key).last_handshake.is_some());
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    println!("recovery after a restart, endpoints restored: {} ms", start.elapsed().as_millis());
}

#[test]
fn after_a_restart_without_endpoints_the_client_comes_back_by_itself() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    drop(engine);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    // WireGuard notices a silent other side 15 s after its first unanswered packet.
    let took = ping_until_answered(&client.ns, "10.8.0.1", Duration::from_secs(25));
    println!("recovery after a restart, by the client alone: {} ms", took.as_millis());
}

#[test]
fn a_deleted_interface_ends_the_engine_and_it_says_so() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    assert!(engine.is_running() && engine.failure().is_none());
    world.gateway.ip("link del wg0");
    wait_for("the engine's end", SOON, || !engine.is_running());
    assert_eq!(engine.failure(), Some("the interface was deleted"));
    assert_eq!(engine.set_peers(vec![peer(&client)]), Err(PeerError::Stopped));
    assert_eq!(engine.peers(), []);
}

#[test]
fn an_interface_that_is_taken_down_and_up_again_goes_on() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    world.gateway.ip("link set wg0 down");
    assert!(!ping(&client.ns, "10.8.0.1", 1));
    assert!(engine.drops().get(DropReason::DeviceRefused) > 0);
    world.gateway.ip("link set wg0 up");
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    assert!(engine.is_running());
}

#[test]
fn what_is_taken_is_refused_by_name() {
    let world = World::new();
    let engine = world.start();
    world.gateway.run(|| {
        assert!(matches!(Tun::open_persistent("wg0", 1420), Err(TunError::Busy { name }) if name == "wg0"));
        assert!(matches!(Tun::open_persistent("lo", 1420), Err(TunError::OtherKind { .. })));
        let second = Tun::open_persistent("wg1", 1420).unwrap();
        let refused = Engine::start(second, world.private.clone(), engine.listen_port());
        assert!(matches!(refused.map(|_| ()), Err(EngineError::PortInUse { port: 51820 })));
    });
}

#[test]
fn any_free_port_and_the_mtu_are_taken() {
    let world = World::new();
    let _engine = world.start_with_mtu(1300);
    assert!(world.gateway.ip("link show wg0").contains("mtu 1300"));
    world.gateway.run(|| {
        let engine =
            Engine::start(Tun::open_persistent("wg1", 1420).unwrap(), world.private.clone(), 0).unwrap();
        assert_ne!(engine.listen_port(), 0);
    });
}
