//! Keys that change, at either end.

use std::time::Duration;

use nexa_tunnel::{Changes, PrivateKey};

use crate::net::{ping, ping_until_answered};
use crate::world::{World, gateway_of, known_peer, peer, status};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_client_s_new_key_lets_it_in_once_it_is_a_peer_and_the_old_one_no_more() {
    let world = World::new();
    let mut client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);

    let old = client.renew_key();
    client.join(engine.public_key(), gateway_of(1));
    assert!(!ping(&client.ns, "10.8.0.1", 1), "nobody knows the new key");
    let changes = engine.set_peers(vec![peer(&client)]).unwrap();
    assert_eq!((changes.added, changes.removed), (1, 1));
    client.join(engine.public_key(), gateway_of(1));
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    assert!(engine.peers().iter().all(|peer| peer.public_key != old));
}

#[test]
fn the_engine_s_own_new_key_is_the_only_one_that_answers() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![known_peer(&client)]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    let (old, before) = (engine.public_key(), status(&engine, client.public_key));

    let private = PrivateKey::generate();
    engine.change(Changes { private_key: Some(private.clone()), ..Changes::default() }).unwrap();
    assert_eq!(engine.public_key(), private.public_key());
    assert!(!ping(&client.ns, "10.8.0.1", 1), "its session is gone with the old key");
    client.join(old, gateway_of(1));
    assert!(!ping(&client.ns, "10.8.0.1", 1), "nobody answers to the old key");
    client.wg(&format!("set {} peer {old} remove", client.interface));
    client.join(engine.public_key(), gateway_of(1));
    // From our end, too: the first packet makes the handshake.
    assert!(ping(&world.gateway, "10.8.0.11", 1));
    let after = status(&engine, client.public_key);
    assert!(after.last_handshake > before.last_handshake && after.endpoint == before.endpoint);
    assert!(after.received_bytes > before.received_bytes, "counters go on");
}
