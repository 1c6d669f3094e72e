//! Sees every packet that reaches an interface of a namespace.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::namespace::Namespace;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Packet>>>,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Who sent it, after address translation.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// The protocol's number; extension headers are not followed.
    pub protocol: u8,
    /// The destination port, for TCP and UDP; none in later fragments.
    pub port: Option<u16>,
    /// The hop limit as it arrived.
    pub hops: u8,
}

impl Capture {
    /// Starts to see what other hosts send into a namespace, over any of its interfaces but loopback.
    ///
    /// # Errors
    /// When the kernel refuses a packet socket.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, is_ready) = mpsc::channel();
        let thread = namespace.spawn(move || {
            let socket = open()?;
            // Packets from now on are queued: nothing is missed between this and the loop.
            let _ = ready.send(());
            read(&socket, &stopped)
        })?;
        if is_ready.recv().is_err() {
            match thread.join() {
                Ok(Err(error)) => return Err(error),
                _ => bail!("a capture ended before it began"),
            }
        }
        Ok(Self { stop, thread })
    }

    /// Ends it and returns all that was seen.
    ///
    /// # Errors
    /// When the kernel had to leave out packets: what was not seen cannot be judged.
    pub fn finish(self) -> Result<Vec<Packet>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn open() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)
        .context("cannot open a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).context("cannot enlarge a buffer")?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).context("cannot set a limit")?;
    Ok(socket)
}

fn read(socket: &OwnedFd, stop: &AtomicBool) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    let mut buffer = [0_u8; 2048];
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                if from.is_some_and(|from| is_from_elsewhere(&from)) {
                    packets.extend(parse(&buffer[..length.min(buffer.len())]));
                }
            }
            // Nothing is waiting: only now may it end.
            Err(Errno::EAGAIN) if stop.load(Ordering::Relaxed) => break,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot capture"),
        }
    }
    match left_out(socket)? {
        0 => Ok(packets),
        count => bail!("the capture missed {count} packets"),
    }
}

fn is_from_elsewhere(from: &LinkAddr) -> bool {
    from.hatype() == libc::ARPHRD_ETHER && from.pkttype() != libc::PACKET_OUTGOING
}

/// How many packets the kernel left out for want of room.
fn left_out(socket: &OwnedFd) -> Result<u32> {
    let mut counts = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = libc::socklen_t::try_from(size_of_val(&counts)).context("a small size")?;
    // SAFETY: the pointer is to a tpacket_stats, which is what this option fills, and the length is its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counts).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).context("cannot read a capture's counts")?;
    Ok(counts.tp_drops)
}

/// Reads an IP packet's header; nothing for other protocols, such as ARP.
fn parse(packet: &[u8]) -> Option<Packet> {
    let byte = |at: usize| packet.get(at).copied();
    let (source, destination, protocol, hops, transport) = match byte(0)? >> 4 {
        4 => {
            let header = usize::from(byte(0)? & 0xf) * 4;
            let address = |at: usize| -> Option<IpAddr> {
                Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?).into())
            };
            let later_fragment = u16::from_be_bytes([byte(6)?, byte(7)?]) & 0x1fff != 0;
            (address(12)?, address(16)?, byte(9)?, byte(8)?, (!later_fragment).then_some(header))
        }
        6 => {
            let address = |at: usize| -> Option<IpAddr> {
                Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into())
            };
            (address(8)?, address(24)?, byte(6)?, byte(7)?, Some(40))
        }
        _ => return None,
    };
    let has_ports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP].contains(&i32::from(protocol));
    let port = transport
        .filter(|_| has_ports)
        .and_then(|at| Some(u16::from_be_bytes(*packet.get(at + 2..)?.first_chunk::<2>()?)));
    Some(Packet { source, destination, protocol, port, hops })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn headers_of_both_families_are_read() {
        let mut v4 = vec![0x46, 0, 0, 28, 0, 0, 0, 0, 63, 6, 0, 0, 10, 20, 0, 1, 10, 20, 0, 10, 1, 1, 1, 1];
        v4.extend([0x80, 0, 0x1f, 0x90]);
        let packet = parse(&v4).expect("a packet");
        assert_eq!((packet.port, packet.hops, packet.protocol), (Some(8080), 63, 6), "options are skipped");
        assert_eq!(packet.destination.to_string(), "10.20.0.10");
        v4[7] = 1;
        assert_eq!(parse(&v4).expect("a packet").port, None, "a later fragment has no ports");

        let mut v6 = vec![0x60, 0, 0, 0, 0, 8, 17, 98];
        v6.extend([0xfd, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        v6.extend([0xfd, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
        v6.extend([0x80, 0, 0, 53]);
        let packet = parse(&v6).expect("a packet");
        assert_eq!((packet.port, packet.hops, packet.source.to_string().as_str()), (Some(53), 98, "fd20::1"));
    }

    #[test]
    fn what_is_no_ip_packet_is_left_out() {
        for other in [&[][..], &[0, 1, 8, 0], &[0x45; 12], &[0x60; 30]] {
            assert_eq!(parse(other), None);
        }
    }
}
