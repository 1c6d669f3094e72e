//! Step 9: the gateway's process may die.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{LIMIT, REFUSED, Walk, control_down::Established, ms};
use crate::{
    capture::{Capture, Packet},
    names::{GATEWAY_LAN, OTHER_SERVER, SERVER, port},
    namespace::Namespace,
    probe::{self, Hops, MARKED_HOPS},
};

/// How long the gateway stays away.
const AWAY: Duration = Duration::from_secs(2);

/// How long a client may take to get through again. A WireGuard client notices a gateway that lost its sessions after
/// 15 s, and asks again within 5 s; the gateway is to be faster than that by asking itself, but either is a recovery.
const RECOVERY: Duration = Duration::from_secs(30);

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let mut established = Established::open(walk, SERVER.sockets(port::HTTP))?;
    let capture = Capture::start(&walk.lab.network.lan)?;
    let [first, second] = &walk.lab.network.clients;
    let probes = [
        Probes::start(first, SERVER.sockets(port::NEVER), Hops::Usual)?,
        Probes::start(first, OTHER_SERVER.sockets(port::HTTP), Hops::Usual)?,
        Probes::start(second, SERVER.sockets(port::HTTP), Hops::Marked)?,
    ];
    walk.lab.gateway.kill()?;
    let killed = Instant::now();
    while killed.elapsed() < AWAY {
        let reached = |address| probe::connect(address, REFUSED, Hops::Usual).is_ok();
        walk.first().run(|| SERVER.sockets(port::HTTP).map(reached))?;
    }
    walk.lab.gateway.start(&walk.lab.network.gateway, &walk.lab.ledger)?;
    let started = Instant::now();
    let recovered = walk
        .first()
        .run(|| probe::first_connect(SERVER.sockets(port::HTTP)[0], Instant::now() + RECOVERY))?;
    let recovered = recovered.context("the client did not recover")?.saturating_duration_since(started);
    walk.lab.gateway.check()?;
    for address in SERVER.sockets(port::HTTP) {
        let body = walk.first().run(|| probe::get(address, "/", LIMIT))?.context("after the restart")?;
        ensure!(body == walk.lab.servers.body(), "another body than the server's: {body:?}");
    }
    established.get(walk.lab.servers.body()).context("an established connection, after the restart")?;
    walk.wait_for_gateway().context("after the restart")?;

    let mut tried = 0;
    for probes in probes {
        tried += probes.finish()?;
    }
    let packets = capture.finish()?;
    ensure!(
        packets.iter().any(|packet| packet.destination == SERVER.v4 && packet.port == Some(port::HTTP)),
        "the capture on the LAN does not even see what is granted"
    );
    nothing_ungranted(&packets)?;
    Ok(format!(
        "{tried} ungranted attempts, 0 of {} packets on the LAN; the client got through {} after the start, \
         its connections went on",
        packets.len(),
        ms(recovered)
    ))
}

/// Checks that the LAN saw only what is granted, and nothing from the client that is granted nothing.
pub(super) fn nothing_ungranted(packets: &[Packet]) -> Result<()> {
    let ungranted: Vec<&Packet> = packets.iter().filter(|packet| !is_granted(packet)).collect();
    match ungranted.first() {
        None => Ok(()),
        Some(first) => bail!("{} ungranted packets reached the LAN, the first {first:?}", ungranted.len()),
    }
}

fn is_granted(packet: &Packet) -> bool {
    const ICMPV6: u8 = 58;
    // Neighbours look for each other with hop limit 255, which no packet that was forwarded can have; multicast
    // listeners report to ff02::16 with hop limit 1.
    let between_neighbours = packet.protocol == ICMPV6 && (packet.hops == 255 || packet.hops == 1)
        || packet.protocol == 0 && packet.hops == 1;
    // Marked packets lose one hop in the gateway.
    let marked = packet.hops <= MARKED_HOPS && packet.hops > MARKED_HOPS - 4;
    let granted = SERVER.both().contains(&packet.destination)
        && packet.protocol == 6
        && packet.port == Some(port::HTTP)
        && GATEWAY_LAN.both().contains(&packet.source);
    between_neighbours || (granted && !marked)
}

/// A client that tries what it may not, all the time.
struct Probes {
    stop: Arc<AtomicBool>,
    tried: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Probes {
    fn start(namespace: &Namespace, addresses: [SocketAddr; 2], hops: Hops) -> Result<Self> {
        let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&tried));
        let thread = namespace.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for address in addresses {
                    // Many short attempts: each sends its first packet at once.
                    let outcome = probe::connect(address, Duration::from_millis(10), hops);
                    ensure!(outcome.is_err(), "{address} was reached");
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        })?;
        Ok(Self { stop, tried, thread })
    }

    /// Ends it and says how often it tried.
    fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.tried.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{Packet, nothing_ungranted};
    use crate::names::{GATEWAY_LAN, OTHER_SERVER, SERVER};

    const GRANTED: Packet = Packet {
        source: std::net::IpAddr::V4(GATEWAY_LAN.v4),
        destination: std::net::IpAddr::V4(SERVER.v4),
        protocol: 6,
        port: Some(80),
        hops: 63,
    };

    #[test]
    fn what_is_granted_and_neighbour_discovery_are_fine() {
        let neighbour =
            Packet { destination: SERVER.v6.into(), protocol: 58, port: None, hops: 255, ..GRANTED };
        nothing_ungranted(&[GRANTED, neighbour]).expect("all granted");
    }

    #[test]
    fn everything_else_is_a_leak() {
        let leaks = [
            Packet { port: Some(8081), ..GRANTED },
            Packet { port: None, ..GRANTED },
            Packet { protocol: 17, ..GRANTED },
            Packet { destination: OTHER_SERVER.v4.into(), ..GRANTED },
            Packet { hops: 98, ..GRANTED },
            Packet { source: [100, 96, 0, 2].into(), ..GRANTED },
            Packet { destination: SERVER.v6.into(), protocol: 58, port: None, hops: 63, ..GRANTED },
        ];
        for leak in leaks {
            assert!(nothing_ungranted(&[GRANTED, leak]).is_err(), "{leak:?}");
        }
    }
}
