//! What must never get through: clients that try it all the time, and the judge of what the LAN saw.

use std::{io::ErrorKind, net::SocketAddr, sync::atomic::Ordering, thread, time::Duration};

use anyhow::{Result, bail};

use crate::{
    background::Background,
    capture::Packet,
    names::{GATEWAY_LAN, SERVER},
    namespace::Namespace,
    probe::{self, Hops, MARKED_HOPS},
};

/// How long an attempt waits for an answer that it must not get.
const PAUSE: Duration = Duration::from_millis(10);

/// Checks that the LAN saw only what is granted, which is these TCP ports of its server to the first client, and nothing
/// from the client that is granted nothing.
///
/// # Errors
/// When it saw something else.
pub fn none_in(packets: &[Packet], ports: &[u16]) -> Result<()> {
    let ungranted: Vec<&Packet> = packets.iter().filter(|packet| !is_granted(packet, ports)).collect();
    match ungranted.first() {
        None => Ok(()),
        Some(first) => bail!("{} ungranted packets reached the LAN, the first {first:?}", ungranted.len()),
    }
}

fn is_granted(packet: &Packet, ports: &[u16]) -> bool {
    const ICMPV6: u8 = 58;
    // Neighbours look for each other with hop limit 255, which no packet that was forwarded can have; multicast
    // listeners report to ff02::16 with hop limit 1.
    let between_neighbours = packet.protocol == ICMPV6 && (packet.hops == 255 || packet.hops == 1)
        || packet.protocol == 0 && packet.hops == 1;
    // Marked packets lose one hop in the gateway.
    let marked = packet.hops <= MARKED_HOPS && packet.hops > MARKED_HOPS - 4;
    let granted = SERVER.both().contains(&packet.destination)
        && packet.protocol == 6
        && packet.port.is_some_and(|port| ports.contains(&port))
        && GATEWAY_LAN.both().contains(&packet.source);
    between_neighbours || (granted && !marked)
}

/// A client that tries what it may not, all the time.
#[derive(Debug)]
pub struct Attempts(Background<u64>);

impl Attempts {
    /// Starts to try, from a client's namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn start(namespace: &Namespace, addresses: [SocketAddr; 2], hops: Hops) -> Result<Self> {
        let attempts = Background::start(namespace, move |stop| {
            let mut tried = 0;
            while !stop.load(Ordering::Relaxed) {
                for address in addresses {
                    // Many short attempts: each sends its first packet at once.
                    match probe::connect(address, PAUSE, hops) {
                        Ok(_) => bail!("{address} was reached"),
                        Err(error) if error.kind() == ErrorKind::TimedOut => tried += 1,
                        // Nothing was sent: a client that has no tunnel just now.
                        Err(_) => thread::sleep(PAUSE),
                    }
                }
            }
            Ok(tried)
        });
        attempts.map(Self)
    }

    /// Ends it and says how often it tried.
    ///
    /// # Errors
    /// When an attempt was not refused.
    pub fn finish(self) -> Result<u64> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Packet, none_in};
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
        none_in(&[GRANTED, neighbour], &[80]).expect("all granted");
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
            assert!(none_in(&[GRANTED, leak], &[80]).is_err(), "{leak:?}");
        }
    }
}
