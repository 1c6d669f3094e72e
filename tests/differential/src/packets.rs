//! Random packets, together with what they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use crate::policy;

mod network;
mod talk;
mod transport;

pub use self::talk::Talk;

/// What a packet is, said by who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From its IP header on.
    pub bytes: Vec<u8>,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What must be made of it.
    pub nature: Nature,
    /// Which part of a datagram it is.
    pub part: Part,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First(Datagram),
    /// A later fragment that begins at so many times eight bytes.
    Later(Datagram, u16),
}

/// What fragments of one datagram have in common, beside their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// The sender's number for it.
    pub id: u32,
    /// Of IPv4, its protocol; of IPv6, what the fragment header says is next.
    pub protocol: u8,
}

/// What must be made of a packet, policy aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It may begin a conversation.
    Asks {
        /// IANA protocol number.
        protocol: u8,
        /// Source port; of an echo request, the identifier; 0 for protocols that have neither.
        from_port: u16,
        /// Destination port; of ICMP, type and code.
        port: u16,
    },
    /// It is an echo reply: it belongs to a conversation that its receiver began, or to none.
    Echoes {
        /// The identifier.
        id: u16,
    },
    /// It reports an error about a packet that went the other way, or never was.
    Reports {
        /// That packet, as it quotes it.
        about: Question,
    },
    /// It reports an error about a packet of which that is never said: an echo reply, or an error.
    ReportsIdly,
    /// Its headers end too early or contradict themselves.
    Broken,
    /// It is a later fragment: what its first one was.
    Continues,
    /// It has extension headers that nobody follows.
    Diverts,
}

/// A packet that may begin a conversation: who asks whom for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// As [`Nature::Asks::from_port`].
    pub from_port: u16,
    /// As [`Nature::Asks::port`].
    pub port: u16,
}

impl Question {
    /// The same the other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            from_port: self.port,
            port: self.from_port,
        }
    }
}

impl Packet {
    /// What it asks, if it does.
    pub const fn question(&self) -> Option<Question> {
        match self.nature {
            Nature::Asks { protocol, from_port, port } => {
                let Self { source, destination, .. } = *self;
                Some(Question { source, destination, protocol, from_port, port })
            }
            _ => None,
        }
    }
}

/// A packet as a peer might send it: mostly sane, from a known address or not.
pub fn from_peer(rng: &mut Rng) -> Packet {
    let v6 = rng.bool();
    let source = peer(rng, v6);
    let destination = policy::destination(rng, v6);
    packet(rng, source, destination)
}

/// A packet as the LAN might send it towards a peer without having been asked.
fn to_peer(rng: &mut Rng) -> Packet {
    let v6 = rng.bool();
    let source = policy::destination(rng, v6);
    let destination = peer(rng, v6);
    packet(rng, source, destination)
}

/// An address of a peer, or of one that is not there.
fn peer(rng: &mut Rng, v6: bool) -> IpAddr {
    let host = if rng.u8(0..8) == 0 { rng.u8(..) } else { 2 + rng.u8(0..policy::MAX_PEERS) };
    if v6 {
        Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, u16::from(host)).into()
    } else {
        Ipv4Addr::new(100, 96, 0, host).into()
    }
}

/// A random packet between two addresses of one family.
fn packet(rng: &mut Rng, source: IpAddr, destination: IpAddr) -> Packet {
    let payload = transport::any(rng, source, destination);
    network::packet(rng, source, destination, payload)
}

/// What an IP header is put in front of.
struct Payload {
    /// From the transport header on.
    bytes: Vec<u8>,
    protocol: u8,
    nature: Nature,
}
