//! Step 10: the metrics are exact.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{LIMIT, Walk, refused::deltas};
use crate::{
    client::Traffic,
    lan::HOST,
    metrics::Metrics,
    names::{Pair, SERVER, port},
    wait,
};

/// Queries per family.
const QUERIES: u64 = 200;

/// Datagrams per family to a port that is not granted, and their size in bytes without headers.
const REFUSED: u64 = 50;
const REFUSED_BYTES: u64 = 333;

/// Bytes of an IP header and a UDP header, IPv4 and IPv6.
const HEADERS: [u64; 2] = [28, 48];

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let dns = walk.make_resource("dns", &json!([{"protocol": "udp", "ports": port::DNS.to_string()}]))?;
    walk.admin()?.create("/api/v1/rules", &walk.grant(&dns)?)?;
    let (client, namespace) = (&walk.lab.clients[0], walk.first());
    let source = client.profile()?.address;
    wait::until("the LAN's DNS server does not answer", LIMIT, || {
        let answer =
            namespace.run(|| ask(source, SERVER.sockets(port::DNS)[0], Duration::from_millis(100)))?;
        Ok(answer.ok().map(drop))
    })?;
    settle(walk)?;

    let (before, sent_before) = (metrics(walk)?, client.traffic(namespace)?);
    let mut expected = Traffic::default();
    for (address, headers) in SERVER.sockets(port::DNS).into_iter().zip(HEADERS) {
        for _ in 0..QUERIES {
            let (query, answer) = namespace.run(|| ask(source, address, LIMIT))??;
            expected.sent_packets += 1;
            expected.sent_bytes += query + headers;
            expected.received_packets += 1;
            expected.received_bytes += answer + headers;
        }
    }
    for (address, headers) in SERVER.sockets(port::NEVER).into_iter().zip(HEADERS) {
        for _ in 0..REFUSED {
            namespace.run(|| send(source, address, &[0; REFUSED_BYTES as usize]))??;
            expected.sent_packets += 1;
            expected.sent_bytes += REFUSED_BYTES + headers;
        }
    }
    // The kernel counts a packet when wireguard-go takes it, which may be a moment after it was sent.
    let mut own = Traffic::default();
    let counted = wait::until("the client's packets are not sent", Duration::from_secs(5), || {
        own = since(client.traffic(namespace)?, sent_before);
        Ok((own.sent_packets >= expected.sent_packets).then_some(()))
    });
    counted.with_context(|| format!("the client's interface moved by {own:?}, not {expected:?}"))?;
    ensure!(
        own == expected,
        "something else was sent: the client's interface moved by {own:?}, not {expected:?}"
    );
    check(walk, &before, expected)?;
    Ok(format!(
        "{} packets, {} bytes from the client and {} packets, {} bytes to it, exactly; no_rule {}",
        expected.sent_packets,
        expected.sent_bytes,
        expected.received_packets,
        expected.received_bytes,
        2 * REFUSED
    ))
}

/// Waits until the gateway has counted what the client sent, and checks that it is that exactly.
fn check(walk: &Walk<'_>, before: &Metrics, expected: Traffic) -> Result<()> {
    let device = walk.lab.clients[0].device.as_deref().context("no device")?;
    let peer = &[("peer", device)][..];
    let mut moved = Traffic::default();
    let waited = wait::until("the metrics do not reach what was sent", Duration::from_secs(5), || {
        moved = since(peer_traffic(&metrics(walk)?, peer), peer_traffic(before, peer));
        Ok((moved.sent_packets >= expected.sent_packets).then_some(()))
    });
    waited.with_context(|| format!("the metrics moved by {moved:?}, not {expected:?}"))?;
    ensure!(moved == expected, "the metrics moved by {moved:?}, not {expected:?}");
    let now = metrics(walk)?;
    for (name, labels) in [("nexavpn_peer_drops_total", peer), ("nexavpn_drops_total", &[])] {
        let drops = deltas(before, &now, name, labels);
        let no_rule = drops.iter().find(|(reason, _)| reason == "no_rule").map(|(_, count)| *count);
        ensure!(
            no_rule == Some(2 * REFUSED),
            "{name} moved by {drops:?}, not by {} for no_rule",
            2 * REFUSED
        );
    }
    Ok(())
}

/// Waits until nothing more comes or goes: repetitions of earlier steps' packets would be counted too.
fn settle(walk: &Walk<'_>) -> Result<()> {
    let (client, namespace) = (&walk.lab.clients[0], walk.first());
    let mut last = (client.traffic(namespace)?, std::time::Instant::now());
    wait::until("the client does not come to rest", Duration::from_secs(60), || {
        let now = client.traffic(namespace)?;
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        Ok((last.1.elapsed() > Duration::from_secs(1)).then_some(()))
    })?;
    Ok(())
}

fn metrics(walk: &Walk<'_>) -> Result<Metrics> {
    walk.lab.gateway.metrics(&walk.lab.network.gateway)
}

/// The gateway's counters, from the client's point of view.
fn peer_traffic(metrics: &Metrics, peer: &[(&str, &str)]) -> Traffic {
    let count = |name: &str| metrics.count(name, peer);
    Traffic {
        received_bytes: count("nexavpn_peer_sent_bytes_total"),
        received_packets: count("nexavpn_peer_sent_packets_total"),
        sent_bytes: count("nexavpn_peer_received_bytes_total"),
        sent_packets: count("nexavpn_peer_received_packets_total"),
    }
}

fn since(now: Traffic, before: Traffic) -> Traffic {
    Traffic {
        received_bytes: now.received_bytes - before.received_bytes,
        received_packets: now.received_packets - before.received_packets,
        sent_bytes: now.sent_bytes - before.sent_bytes,
        sent_packets: now.sent_packets - before.sent_packets,
    }
}

/// Sends one query for the LAN server's address, of the server's family, and returns the sizes of query and answer.
fn ask(source: Pair, server: SocketAddr, limit: Duration) -> Result<(u64, u64)> {
    let socket = bound(source, server)?;
    socket.set_read_timeout(Some(limit)).context("cannot set a limit")?;
    let query = query(if server.is_ipv4() { 1 } else { 28 });
    socket.send(&query).context("cannot ask the DNS server")?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).context("the DNS server does not answer")?;
    ensure!(
        length > query.len() && buffer[..2] == query[..2],
        "this is no answer: {:02x?}",
        &buffer[..length]
    );
    let address: Vec<u8> = match if server.is_ipv4() { IpAddr::V4(SERVER.v4) } else { IpAddr::V6(SERVER.v6) }
    {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    };
    ensure!(buffer[..length].ends_with(&address), "the answer is not the server's address");
    Ok((query.len() as u64, length as u64))
}

fn send(source: Pair, to: SocketAddr, bytes: &[u8]) -> Result<()> {
    bound(source, to)?.send(bytes).context("cannot send")?;
    Ok(())
}

fn bound(source: Pair, to: SocketAddr) -> Result<UdpSocket> {
    let from = source.both()[usize::from(to.is_ipv6())];
    let socket = UdpSocket::bind((from, 0)).context("cannot bind to the tunnel's address")?;
    socket.connect(to).context("no route")?;
    Ok(socket)
}

/// A DNS query (RFC 1035, section 4.1) for [`HOST`].
fn query(kind: u16) -> Vec<u8> {
    let mut message = vec![0x4e, 0x58, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in HOST.split('.') {
        message.extend(u8::try_from(label.len()));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}
