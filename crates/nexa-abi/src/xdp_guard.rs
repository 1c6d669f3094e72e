//! What may reach the WireGuard port from outside: the guard on the uplink.
//!
//! The guard judges by form what no key is needed for, so that junk ends before it costs a socket. It admits what it
//! does not understand: behind it the tunnel decides, by keys. So it must never refuse what an honest peer sends,
//! which is what the limits of each rule below are about.
//!
//! Judged are UDP datagrams to the port on an address of this host. Everything else goes its way, unread: other
//! traffic of the host; datagrams to the same port elsewhere, which this host only forwards; fragments, which only
//! the stack can put together, and of which the first says nothing about the length of the whole; IPv6 with extension
//! headers, which no WireGuard peer sends. The socket serves all addresses of the host, hence all are judged alike.

use core::net::IpAddr;

use crate::layout::Family;
use crate::packet::{Bytes, UDP};

/// Names of the maps, as the object declares them.
pub mod map {
    /// One [`super::Config`].
    pub const CONFIG: &str = "CONFIG";
    /// [`super::LocalKey`] of each address of this host → nothing of meaning.
    pub const LOCAL: &str = "LOCAL";
    /// One bit for each of 2^24 receiver prefixes, in words of 64.
    pub const RECEIVERS: &str = "RECEIVERS";
    /// Datagrams by [`super::Verdict`], per CPU.
    pub const VERDICTS: &str = "VERDICTS";
    /// When the budget is whole again, see [`super::Tables::budget_whole_ns`].
    pub const BUDGET: &str = "BUDGET";
}

/// Addresses of this host that the guard knows; datagrams to others are not judged.
pub const MAX_LOCAL: u32 = 4096;

/// Words of 64 bits in the map of receivers: 2 MiB, as much as a hash of the most peers, and asked in a tenth of the
/// time.
pub const RECEIVER_WORDS: u32 = 1 << 18;

/// [`Config::flags`]: messages to a receiver that nobody is are refused.
pub const CHECK_RECEIVERS: u16 = 1;
/// [`Config::flags`]: what the program sees may be several datagrams of one sender that the kernel has joined.
///
/// Generic XDP runs behind GRO, and the tunnel's socket asks for it: datagrams of one length and one last shorter one
/// come as a single one, and nothing there says so.
pub const JOINED: u16 = 2;

/// How the guard judges. The first half is one aligned word: a program sees all of it or none.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The tunnel's port, big-endian; 0 judges nothing.
    pub port: [u8; 2],
    /// [`CHECK_RECEIVERS`] and [`JOINED`].
    pub flags: u16,
    /// Nanoseconds between handshake initiations in the long run; 0 admits all.
    pub initiation_interval_ns: u32,
    /// How far ahead of that they may run, nanoseconds: the burst times the interval.
    pub initiation_burst_ns: u64,
}

/// An address of this host.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalKey {
    /// A [`Family`].
    pub family: u32,
    /// IPv4 in the first four bytes.
    pub address: [u8; 16],
}

impl LocalKey {
    /// The key of an address.
    pub fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let mut key = Self { family: Family::V4 as u32, address: [0; 16] };
                key.address[..4].copy_from_slice(&v4.octets());
                key
            }
            IpAddr::V6(v6) => Self { family: Family::V6 as u32, address: v6.octets() },
        }
    }
}

const _: () = assert!(size_of::<Config>() == 16 && align_of::<Config>() == 8);
const _: () = assert!(size_of::<LocalKey>() == 20 && align_of::<LocalKey>() == 4);

/// What becomes of a frame. The numbers index counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Not for the tunnel's port: goes on, uncounted.
    NotOurs = 0,
    /// Goes on to the tunnel.
    Passed = 1,
    /// Dropped: shorter than any message, not as long as its type is, or its headers contradict its length.
    Length = 2,
    /// Dropped: no message has this type.
    MessageType = 3,
    /// Dropped: bytes that are zero by the protocol are not.
    Reserved = 4,
    /// Dropped: it is for a receiver index that nobody was given.
    UnknownReceiver = 5,
    /// Dropped: more handshakes are begun than the tunnel shall bear.
    InitiationBudget = 6,
}

/// Room in the map of counters.
pub const VERDICTS: u32 = 8;

impl Verdict {
    /// All that end in a drop.
    pub const DROPS: [Self; 5] =
        [Self::Length, Self::MessageType, Self::Reserved, Self::UnknownReceiver, Self::InitiationBudget];

    /// Whether the frame ends here.
    pub const fn is_drop(self) -> bool {
        self as u32 > Self::Passed as u32
    }

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Passed => "passed",
            Self::Length => "length",
            Self::MessageType => "message_type",
            Self::Reserved => "reserved",
            Self::UnknownReceiver => "unknown_receiver",
            Self::InitiationBudget => "initiation_budget",
        }
    }
}

/// What the guard asks.
pub trait Tables {
    /// Whether the address is this host's.
    fn is_local(&self, key: &LocalKey) -> bool;

    /// A word of the map of receivers, below [`RECEIVER_WORDS`].
    fn receivers(&self, word: u32) -> u64;

    /// Monotonic clock, nanoseconds.
    fn now_ns(&self) -> u64;

    /// When the budget for initiations is whole again, by the same clock; in the past if it is.
    fn budget_whole_ns(&self) -> u64;

    /// Takes from the budget.
    ///
    /// Not atomic with the read before it: BPF of the kernels that we support has no compare-and-swap that Rust
    /// could use. CPUs that read at the same moment, some ten nanoseconds, are admitted for the price of one, so a
    /// flood gets at most one initiation per CPU and interval through instead of one, and never fewer than one.
    fn set_budget_whole_ns(&self, at: u64);
}

/// Where in the map of receivers the upper 24 bits of a receiver index are: word and bit. The low byte counts a
/// peer's sessions, so the map changes with peers only.
pub const fn receiver_position(prefix: u32) -> (u32, u64) {
    (prefix >> 6, 1 << (prefix & 63))
}

/// Message types (WireGuard paper, 5.4).
const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE: u8 = 3;
const DATA: u8 = 4;

/// Length of a handshake initiation (WireGuard paper, 5.4.2).
const INITIATION_BYTES: u32 = 148;
/// Length of a handshake response (5.4.3).
const RESPONSE_BYTES: u32 = 92;
/// Length of a cookie reply (5.4.7).
const COOKIE_BYTES: u32 = 64;
/// Shortest transport message, a keepalive (5.4.6): 16 of header, 16 of tag. Longer ones have every length: padding
/// to 16 bytes ends at the MTU (kernel: `calculate_skb_padding`), and 1420 is no multiple of 16.
const DATA_BYTES: u32 = 32;

const ETHERNET_BYTES: u32 = 14;
const VLAN_BYTES: u32 = 4;
const V4_BYTES: u32 = 20;
const V6_BYTES: u32 = 40;
const UDP_BYTES: u32 = 8;

const ETHERTYPE_V4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
/// 802.1Q.
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
/// 802.1ad, where it is the only tag.
const ETHERTYPE_VLAN_SERVICE: [u8; 2] = [0x88, 0xa8];

/// Judges a frame from its Ethernet header on, with at most one VLAN tag; frames with more are not judged.
pub fn judge<B: Bytes + ?Sized, T: Tables>(frame: &B, config: &Config, tables: &T) -> Verdict {
    Guard { frame, config, tables }.frame()
}

/// What every step needs.
struct Guard<'a, B: ?Sized, T> {
    frame: &'a B,
    config: &'a Config,
    tables: &'a T,
}

impl<B: Bytes + ?Sized, T: Tables> Guard<'_, B, T> {
    fn frame(&self) -> Verdict {
        if self.config.port == [0; 2] {
            return Verdict::NotOurs;
        }
        let mut at = ETHERNET_BYTES;
        // Into buffers throughout: what an absent array holds is undefined, and the verifier refuses to see it moved.
        let mut ethertype = [0; 2];
        if !self.frame.load_into(at - 2, &mut ethertype) {
            return Verdict::NotOurs;
        }
        if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_VLAN_SERVICE {
            at += VLAN_BYTES;
            if !self.frame.load_into(at - 2, &mut ethertype) {
                return Verdict::NotOurs;
            }
        }
        match ethertype {
            ETHERTYPE_V4 => self.v4(at),
            ETHERTYPE_V6 => self.v6(at),
            _ => Verdict::NotOurs,
        }
    }

    fn v4(&self, at: u32) -> Verdict {
        let Some(header) = self.frame.load::<20>(at) else { return Verdict::NotOurs };
        let header_bytes = u32::from(header[0] & 0x0f) * 4;
        let is_fragment = (header[6] & 0x3f) | header[7] != 0;
        if header[0] >> 4 != 4 || header_bytes < V4_BYTES || header[9] != UDP || is_fragment {
            return Verdict::NotOurs;
        }
        // By way of a number: LLVM would make a call of it that clears the rest byte by byte.
        let address = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
        let to = LocalKey { family: Family::V4 as u32, address: u128::from(address).to_le_bytes() };
        let total_bytes = u32::from(u16::from_be_bytes([header[2], header[3]]));
        self.udp(at + header_bytes, total_bytes.saturating_sub(header_bytes), &to)
    }

    fn v6(&self, at: u32) -> Verdict {
        let Some(header) = self.frame.load::<8>(at) else { return Verdict::NotOurs };
        if header[0] >> 4 != 6 || header[6] != UDP {
            return Verdict::NotOurs;
        }
        let Some(address) = self.frame.load::<16>(at + 24) else { return Verdict::NotOurs };
        let to = LocalKey { family: Family::V6 as u32, address };
        let payload_bytes = u32::from(u16::from_be_bytes([header[4], header[5]]));
        self.udp(at + V6_BYTES, payload_bytes, &to)
    }

    /// `room` is what the IP header says that there is, the UDP header included.
    fn udp(&self, at: u32, room: u32, to: &LocalKey) -> Verdict {
        let Some(header) = self.frame.load::<8>(at) else { return Verdict::NotOurs };
        if [header[2], header[3]] != self.config.port || !self.tables.is_local(to) {
            return Verdict::NotOurs;
        }
        let bytes = u32::from(u16::from_be_bytes([header[4], header[5]]));
        // The stack would refuse these two as well. A frame may be longer, by padding.
        if bytes > room || at + bytes > self.frame.len() {
            return Verdict::Length;
        }
        self.message(at + UDP_BYTES, bytes.saturating_sub(UDP_BYTES))
    }

    /// A message of `bytes` bytes at `at`.
    fn message(&self, at: u32, bytes: u32) -> Verdict {
        if bytes < DATA_BYTES {
            return Verdict::Length;
        }
        let Some(start) = self.frame.load::<12>(at) else { return Verdict::Length };
        if !matches!(start[0], INITIATION..=DATA) {
            return Verdict::MessageType;
        }
        if start[1] | start[2] | start[3] != 0 {
            return Verdict::Reserved;
        }
        if !self.fits(start[0], bytes) {
            return Verdict::Length;
        }
        // A response names its sender first.
        let receiver = match start[0] {
            INITIATION => return self.initiation(),
            RESPONSE => u32::from_le_bytes([start[8], start[9], start[10], start[11]]),
            _ => u32::from_le_bytes([start[4], start[5], start[6], start[7]]),
        };
        if self.config.flags & CHECK_RECEIVERS == 0 || self.is_receiver(receiver) {
            return Verdict::Passed;
        }
        if self.may_be_joined() && self.ends_in_initiation(at, bytes) {
            return self.initiation();
        }
        Verdict::UnknownReceiver
    }

    /// Whether a message of this type may have this length. The first of joined ones says nothing about their sum.
    fn fits(&self, message_type: u8, bytes: u32) -> bool {
        let exact = match message_type {
            INITIATION => INITIATION_BYTES,
            RESPONSE => RESPONSE_BYTES,
            COOKIE => COOKIE_BYTES,
            _ => return bytes >= DATA_BYTES,
        };
        bytes == exact || (self.may_be_joined() && bytes > exact)
    }

    const fn may_be_joined(&self) -> bool {
        self.config.flags & JOINED != 0
    }

    fn is_receiver(&self, index: u32) -> bool {
        let (word, bit) = receiver_position(index >> 8);
        self.tables.receivers(word) & bit != 0
    }

    /// Whether the last of joined datagrams is a handshake initiation. A peer that goes on sending under a session
    /// that this gateway forgot, as it does for 15 s after a restart, must get its next handshake through. No
    /// message of data is as long as an initiation, so it is the last that is joined, if it is not the first.
    fn ends_in_initiation(&self, at: u32, bytes: u32) -> bool {
        let mut last = [0; 4];
        bytes >= DATA_BYTES + INITIATION_BYTES
            && self.frame.load_into(at + bytes - INITIATION_BYTES, &mut last)
            && last == [INITIATION, 0, 0, 0]
    }

    /// A leaky bucket that keeps one moment instead of a level (GCRA): each initiation moves it by an interval, and
    /// none is admitted while it is further ahead than the burst.
    fn initiation(&self) -> Verdict {
        if self.config.initiation_interval_ns == 0 {
            return Verdict::Passed;
        }
        let now = self.tables.now_ns();
        let whole = self.tables.budget_whole_ns();
        let whole = if whole > now { whole } else { now };
        if whole - now > self.config.initiation_burst_ns {
            return Verdict::InitiationBudget;
        }
        self.tables.set_budget_whole_ns(whole + u64::from(self.config.initiation_interval_ns));
        Verdict::Passed
    }
}

#[cfg(test)]
mod tests;
