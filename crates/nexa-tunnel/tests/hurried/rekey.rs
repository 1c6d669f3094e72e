//! Rekeys with wireguard-go, whose clock runs as ever: the engine is the one that is in a hurry.

use std::collections::HashSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::flow::Flow;
use crate::ns::Ns;
use crate::world::{World, known_peer, status};

const PACE: Duration = Duration::from_millis(10);

fn flow(from: (&Ns, &str), to: (&Ns, &str)) -> Flow {
    let socket = |(ns, address): (&Ns, &str)| {
        let address: IpAddr = address.parse().unwrap();
        ns.run(|| UdpSocket::bind((address, 0)).unwrap())
    };
    Flow::new(format!("{} to {}", from.1, to.1), socket(from), socket(to))
}

#[test]
fn rekeys_under_traffic_lose_nothing_with_wireguard_go() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    engine.set_peers(vec![known_peer(&client)]).unwrap();
    let (gateway, far) = ((&world.gateway, "10.8.0.1"), (&client.ns, "10.8.0.11"));
    // The gateway speaks first, so it is the one that rekeys.
    let mut flows = [flow(gateway, far)].into_iter().collect::<Vec<_>>();
    flows[0].step();
    while status(&engine, client.public_key).last_handshake.is_none() {
        std::thread::sleep(PACE);
    }
    flows.push(flow(far, gateway));
    let mut handshakes = HashSet::new();
    while handshakes.len() < 4 {
        flows.iter_mut().for_each(Flow::step);
        handshakes.extend(status(&engine, client.public_key).last_handshake);
        assert!(flows[0].sent < 10_000, "no rekeys: {handshakes:?}");
        std::thread::sleep(PACE);
    }
    std::thread::sleep(PACE * 20);
    for flow in &mut flows {
        flow.collect();
        assert_eq!(flow.arrived, flow.sent, "{}", flow.name);
    }
}
