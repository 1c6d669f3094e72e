/// Why a datagram or packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Not a WireGuard message by type and length.
    Malformed,
    /// A receiver index that no peer has: junk, or a session from before a restart.
    UnknownReceiver,
    /// A handshake whose first MAC is wrong: its sender does not know our public key.
    BadMac,
    /// Under load, and the handshake does not prove its source address: a cookie was sent instead.
    CookieSent,
    /// Under load, and this source has begun as many handshakes as one may.
    SourceLimit,
    /// A handshake of a key that is no peer, that fails to authenticate, or that answers nothing we asked last.
    BadHandshake,
    /// A data message that does not authenticate, or whose session has ended.
    BadData,
    /// A data message seen before or too old.
    Replay,
    /// Authentic, but what is inside is no IP packet.
    BadInner,
    /// Authentic, but the inner source belongs to another peer or to none.
    WrongSource,
    /// The TUN device refused the packet (it is down, or out of memory).
    DeviceRefused,
    /// A frame of the TUN device with an offload that was not asked for.
    BadFrame,
    /// A packet from the TUN device that no peer's allowed IPs cover.
    NoPeer,
    /// A packet for a peer whose endpoint is not known yet.
    NoEndpoint,
    /// The socket refused the datagram (no route, or its buffer stayed full).
    SocketRefused,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::UnknownReceiver,
        Self::BadMac,
        Self::CookieSent,
        Self::SourceLimit,
        Self::BadHandshake,
        Self::BadData,
        Self::Replay,
        Self::BadInner,
        Self::WrongSource,
        Self::DeviceRefused,
        Self::BadFrame,
        Self::NoPeer,
        Self::NoEndpoint,
        Self::SocketRefused,
    ];

    /// The reason's name in snake case, as metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownReceiver => "unknown_receiver",
            Self::BadMac => "bad_mac",
            Self::CookieSent => "cookie_sent",
            Self::SourceLimit => "source_limit",
            Self::BadHandshake => "bad_handshake",
            Self::BadData => "bad_data",
            Self::Replay => "replay",
            Self::BadInner => "bad_inner",
            Self::WrongSource => "wrong_source",
            Self::DeviceRefused => "device_refused",
            Self::BadFrame => "bad_frame",
            Self::NoPeer => "no_peer",
            Self::NoEndpoint => "no_endpoint",
            Self::SocketRefused => "socket_refused",
        }
    }
}

/// How many datagrams or packets were dropped, by reason, since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// The count of one reason.
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.get(reason)))
    }

    pub(crate) const fn add(&mut self, reason: DropReason, count: u64) {
        self.0[reason as usize] += count;
    }
}
