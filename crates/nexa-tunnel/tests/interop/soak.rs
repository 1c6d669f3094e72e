//! What only minutes of WireGuard's clock can show; `cargo xtask test --full lab` runs it.

use std::time::Duration;

use crate::net::{ping, ping_until_answered};
use crate::world::{World, peer, status};

const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(200);

#[test]
#[ignore = "takes seven minutes"]
fn peers_that_slept_are_served_at_once() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    // Not a wait for a condition: the time itself is what is tested. Two seconds of pings, for a session that counts
    // as old is thrown away at the next tick.
    std::thread::sleep(LONGER_THAN_A_SESSION);
    assert!(ping(&client.ns, "10.8.0.1", 40), "a first handshake long after the start");
    std::thread::sleep(LONGER_THAN_A_SESSION);
    assert!(ping(&world.gateway, "10.8.0.11", 40), "a handshake of ours after the session has expired");
}

#[test]
#[ignore = "takes five minutes"]
fn rekeys_lose_nothing_whoever_talks() {
    let world = World::new();
    let (asking, asked) = (world.client(1), world.client(2));
    let engine = world.start();
    engine.set_peers(vec![peer(&asking), peer(&asked)]).unwrap();
    ping_until_answered(&asking.ns, "10.8.0.1", Duration::from_secs(5));
    ping_until_answered(&asked.ns, "10.8.0.1", Duration::from_secs(5));
    let first = [&asking, &asked].map(|client| status(&engine, client.public_key).last_handshake.unwrap());
    std::thread::scope(|scope| {
        let up = scope.spawn(|| ping(&asking.ns, "10.8.0.1", 6000));
        assert!(ping(&world.gateway, "10.8.0.12", 6000), "from the gateway");
        assert!(up.join().unwrap(), "from the client");
    });
    for (client, first) in [&asking, &asked].into_iter().zip(first) {
        let last = status(&engine, client.public_key).last_handshake.unwrap();
        assert!(last > first + Duration::from_secs(200), "two rekeys");
    }
}
