//! UDP through the tunnel, over both families inside and outside.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::net::{pattern, ping_until_answered};
use crate::ns::Ns;
use crate::world::{World, peer, status, wait_for};

const SOON: Duration = Duration::from_secs(5);

/// Nothing, what is padded and what is not, what just fits into 1420 bytes over IPv6 and IPv4, and what is cut inside.
const LENGTHS: [usize; 8] = [0, 1, 15, 64, 1372, 1392, 4000, 20_000];

#[test]
fn datagrams_of_every_size_arrive_whole_both_ways_over_both_families() {
    for gateway in ["10.77.1.1:51820", "[fd77:1::1]:51820"] {
        let world = World::new();
        let client = world.client_at(1, gateway.parse().unwrap());
        let engine = world.start();
        engine.set_peers(vec![peer(&client)]).unwrap();
        ping_until_answered(&client.ns, "10.8.0.1", SOON);
        for (own, other) in [("10.8.0.1", "10.8.0.11"), ("fd08::1", "fd08::11")] {
            exchange(&client.ns, &world.gateway, own.parse().unwrap());
            exchange(&world.gateway, &client.ns, other.parse().unwrap());
        }
        assert_eq!(
            status(&engine, client.public_key).endpoint.unwrap().is_ipv4(),
            gateway.starts_with("10.")
        );
        wait_for("equal counters", SOON, || {
            let ours = status(&engine, client.public_key);
            client.transfer() == (ours.sent_bytes, ours.received_bytes)
        });
    }
}

/// Sends datagrams of all lengths from one namespace to `address` in the other, and has them come back.
fn exchange(from: &Ns, to: &Ns, address: IpAddr) {
    let echo = to.run(|| UdpSocket::bind((address, 0)).unwrap());
    echo.set_read_timeout(Some(SOON)).unwrap();
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = from.run(|| UdpSocket::bind(any).unwrap());
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(echo.local_addr().unwrap()).unwrap();
    let mut buffer = vec![0; 1 << 16];
    for (n, length) in LENGTHS.into_iter().enumerate() {
        let sent = pattern(length, n as u64);
        socket.send(&sent).unwrap();
        let (there, back) = echo.recv_from(&mut buffer).unwrap();
        assert!(buffer[..there] == sent, "{length} bytes to {address}: {there} came, or other ones");
        echo.send_to(&buffer[..there], back).unwrap();
        let here = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..here] == sent, "{length} bytes from {address}: {here} came, or other ones");
    }
}
