//! A thousand WireGuard clients in one thread: they shake hands, and then send as fast as it goes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey as X25519Public, StaticSecret};
use nexa_tunnel::PrivateKey;
use nexa_types::PublicKey;

/// Flows of each client.
const FLOWS: u16 = 100;
/// Bytes of a datagram of UDP, headers and all.
const PACKET_BYTES: usize = 200;
/// The first source port, and the destination port.
const PORTS: (u16, u16) = (20_000, 9_999);
/// How long is sent and counted.
const RUN: Duration = Duration::from_secs(1);
/// How long an answer to a handshake may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Datagrams between two looks at the clock.
const BURST: usize = 64;

/// Clients that have shaken hands.
pub(super) struct Crowd {
    socket: UdpSocket,
    clients: Vec<Client>,
    rng: fastrand::Rng,
}

struct Client {
    tunnel: Tunn,
    address: Ipv4Addr,
}

impl Crowd {
    /// Shakes hands for all, one after the other, from a socket in this thread's namespace.
    pub(super) fn join(
        keys: Vec<(PrivateKey, Ipv4Addr)>,
        gateway: PublicKey,
        endpoint: SocketAddr,
    ) -> Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0").context("no socket")?;
        socket.connect(endpoint).context("no route to the gateway")?;
        socket.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
        let mut clients = Vec::with_capacity(keys.len());
        for (index, (key, address)) in (0..).zip(keys) {
            let secret = StaticSecret::from(*key.to_bytes());
            let mut tunnel =
                Tunn::new(secret, X25519Public::from(*gateway.as_bytes()), None, None, index, None);
            shake_hands(&socket, &mut tunnel).with_context(|| format!("client {index}"))?;
            clients.push(Client { tunnel, address });
        }
        // What the gateway says from now on is left in the socket.
        socket.set_nonblocking(true).context("cannot go on without waiting")?;
        Ok(Self { socket, clients, rng: fastrand::Rng::with_seed(4) })
    }

    /// Sends packets of random flows of random clients for a while; returns how many a second `arrived` counts, once
    /// each flow has begun.
    pub(super) fn send(&mut self, to: IpAddr, arrived: &dyn Fn() -> Result<u64>) -> Result<f64> {
        let IpAddr::V4(to) = to else { bail!("the crowd speaks IPv4") };
        for port in 0..FLOWS {
            for index in 0..self.clients.len() {
                self.send_one(index, port, to)?;
            }
        }
        let (start, before) = (Instant::now(), arrived()?);
        while start.elapsed() < RUN {
            for _ in 0..BURST {
                let (index, port) = (self.rng.usize(..self.clients.len()), self.rng.u16(..FLOWS));
                self.send_one(index, port, to)?;
            }
        }
        let count = arrived()? - before;
        ensure!(count > 0, "nothing came through");
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    fn send_one(&mut self, index: usize, port: u16, to: Ipv4Addr) -> Result<()> {
        let Client { tunnel, address } = &mut self.clients[index];
        let packet = packet(*address, to, PORTS.0 + port);
        let mut sealed = [0; PACKET_BYTES + 128];
        match tunnel.encapsulate(&packet, &mut sealed) {
            // That there is no room for it now is as if it were lost on the way.
            TunnResult::WriteToNetwork(datagram) => drop(self.socket.send(datagram)),
            TunnResult::Err(error) => bail!("a client cannot send: {error:?}"),
            _ => bail!("a client has nothing to send"),
        }
        Ok(())
    }
}

/// Sends an initiation, takes the answer, and confirms it.
fn shake_hands(socket: &UdpSocket, tunnel: &mut Tunn) -> Result<()> {
    let (mut out, mut heard) = ([0; 256], [0; 256]);
    let TunnResult::WriteToNetwork(initiation) = tunnel.format_handshake_initiation(&mut out, false) else {
        bail!("no initiation")
    };
    socket.send(initiation).context("cannot send an initiation")?;
    let length = socket.recv(&mut heard).context("no answer to an initiation")?;
    let TunnResult::WriteToNetwork(confirmation) = tunnel.decapsulate(None, &heard[..length], &mut out)
    else {
        bail!("the answer is none")
    };
    socket.send(confirmation).context("cannot confirm")?;
    Ok(())
}

/// A datagram of UDP without a checksum.
fn packet(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let [high, low] = u16::try_from(PACKET_BYTES).unwrap_or(u16::MAX).to_be_bytes();
    packet[..10].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum = super::super::frame::checksum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&sum);
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&PORTS.1.to_be_bytes());
    let udp_bytes = u16::try_from(PACKET_BYTES - 20).unwrap_or(u16::MAX);
    packet[24..26].copy_from_slice(&udp_bytes.to_be_bytes());
    packet
}
