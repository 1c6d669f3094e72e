//! Forty peers at once.

use std::time::Duration;

use crate::go::GoPeer;
use crate::net::{pattern, ping, ping_until_answered, transfer};
use crate::world::{World, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(20);
const PEERS: u8 = 40;

#[test]
fn forty_peers_talk_at_once_and_each_end_counts_the_same() {
    let world = World::new();
    let clients: Vec<GoPeer> = (1..=PEERS).map(|n| world.client(n)).collect();
    let engine = world.start();
    engine.set_peers(clients.iter().map(peer).collect()).unwrap();
    std::thread::scope(|scope| {
        for client in &clients {
            let world = &world;
            scope.spawn(move || {
                let n = client.n;
                ping_until_answered(&client.ns, "10.8.0.1", SOON);
                ping_until_answered(&world.gateway, &format!("fd08::{}", 10 + n), SOON);
                let bytes = pattern(200_000, n.into());
                transfer(&client.ns, &world.gateway, "fd08::1".parse().unwrap(), &bytes);
                let address = format!("10.8.0.{}", 10 + n).parse().unwrap();
                transfer(&world.gateway, &client.ns, address, &bytes);
            });
        }
    });
    for client in &clients {
        wait_for("equal counters", SOON, || {
            let ours = status(&engine, client.public_key);
            client.transfer() == (ours.sent_bytes, ours.received_bytes) && ours.sent_bytes > 200_000
        });
    }
    // One goes; the others do not notice.
    engine.set_peers(clients[1..].iter().map(peer).collect()).unwrap();
    assert!(!ping(&clients[0].ns, "10.8.0.1", 1));
    assert!(ping(&clients[1].ns, "10.8.0.1", 1) && ping(&world.gateway, "10.8.0.50", 1));
}
