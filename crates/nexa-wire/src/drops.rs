//! Packets that a gateway dropped: those of one device that are alike, within a few seconds, told as one.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use nexa_types::{Generation, Protocol, RuleId};
use serde::{Deserialize, Serialize};

use crate::local::{Exclusion, NearMiss, Query};

/// Like packets that were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// When the first of them was.
    pub first_at: DateTime<Utc>,
    /// When the last of them was.
    pub last_at: DateTime<Utc>,
    /// How many they are. Segments that the kernel has joined to one packet are one; counters count them apart.
    pub packets: u64,
    /// How many of them were not told one by one, because the device had too many: its untold packets are shared out
    /// among what was told of it.
    pub untold_packets: u64,
    /// Which way they went.
    pub direction: Direction,
    /// Where they went, and where the last of them came from; none of a packet that could not be read.
    #[serde(flatten)]
    pub route: Option<Route>,
    /// The name of the reason, as metrics have it.
    pub reason: String,
    /// The rule that refused them; none where no rule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// The generation of the kernel's maps that dropped the last of them.
    pub generation: Generation,
    /// What they were for, where that is why no rule speaks of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
    /// Of packets that no rule speaks of, the rule that came closest to allowing them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearMiss>,
}

/// Which way a packet goes, seen from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The device sent it.
    Ingress,
    /// It was for the device.
    Egress,
}

impl Direction {
    /// The name in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Addresses, protocol and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Source address.
    pub source: IpAddr,
    /// Source port, or the identifier of an echo; 0 for protocols that have neither.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; of ICMP, type and code; 0 for protocols that have neither.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
}

impl Dropped {
    /// Adds what came of the same later.
    pub fn absorb(&mut self, later: Self) {
        let Self { first_at, packets, untold_packets, nearest, .. } = self;
        let nearest = later.nearest.or_else(|| nearest.take());
        *self = Self {
            first_at: *first_at,
            packets: *packets + later.packets,
            untold_packets: *untold_packets + later.untold_packets,
            nearest,
            ..later
        };
    }

    /// What [`Self::nearest`] says, in a sentence.
    pub fn nearest_sentence(&self) -> Option<String> {
        Some(self.nearest.as_ref()?.sentence(&self.route?.query()))
    }
}

impl Route {
    /// The same as a question of nobody.
    pub fn query(&self) -> Query {
        let (protocol, port) = match self.protocol {
            1 | 58 => (Protocol::Icmp, None),
            6 => (Protocol::Tcp, Some(self.destination_port)),
            17 => (Protocol::Udp, Some(self.destination_port)),
            number => (Protocol::Number(number), None),
        };
        Query { peer: String::new(), destination: self.destination, protocol, port }
    }
}
