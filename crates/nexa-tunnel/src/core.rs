//! What happens to each datagram, packet and timer. It owns the peers and writes to the device and the socket;
//! when to call it is the loop's business, the time comes in from there.

mod apply;
mod inbound;
mod outbound;
mod timers;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;

pub(crate) use apply::{Addition, Change, Update};

use crate::drops::{DropCounts, DropReason};
use crate::packet;
use crate::peer::{Endpoint, Output};
use crate::platform::{SendBatch, Tun, UdpSocket, WriteBatch};
use crate::sources::Sources;
use crate::table::PeerTable;
use crate::wheel::Wheel;
use crate::{PeerStatus, PrivateKey};

/// Handshake messages with a right first MAC per second above which a cookie is demanded. One costs about 0.2 ms,
/// so this is a fifth of a core.
const HANDSHAKES_PER_SECOND: u64 = 1000;

/// How long a way that takes no batches is not tried with one again; as long as the kernel remembers a path's MTU.
const REFUSALS_LAST: Duration = Duration::from_secs(600);

/// The largest datagram or packet.
pub(crate) const MAX_PACKET: usize = 65_536;
/// Room behind a packet for what it is padded with.
pub(crate) const PADDING: usize = 16;

pub(crate) struct Core {
    private: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: RateLimiter,
    /// Checks the first MAC and never asks for a cookie.
    unlimited: RateLimiter,
    limiter_resets_at: Instant,
    /// Handshake messages that the limiter has let pass its first check since it was last reset.
    handshakes: u64,
    sources: Sources,
    tun: Tun,
    socket: UdpSocket,
    peers: PeerTable,
    wheel: Wheel,
    due: Vec<(usize, u64)>,
    /// Slots whose peers are to be sent a handshake soon, a few per tick.
    to_initiate: VecDeque<usize>,
    initiates_at: Instant,
    batch: SendBatch,
    batch_forgets_at: Instant,
    to_device: WriteBatch,
    /// Where a segment of a large packet is put together; room for padding behind it.
    segment: Box<[u8]>,
    drops: DropCounts,
    now: Instant,
}

impl Core {
    pub(crate) fn new(tun: Tun, socket: UdpSocket, private: &PrivateKey) -> Self {
        let now = Instant::now();
        let public = x25519::PublicKey::from(private.secret());
        Self {
            private: private.secret().clone(),
            batch: SendBatch::new(&socket),
            batch_forgets_at: now + REFUSALS_LAST,
            public,
            limiter: RateLimiter::new(&public, HANDSHAKES_PER_SECOND),
            unlimited: RateLimiter::new(&public, u64::MAX),
            limiter_resets_at: now + Duration::from_secs(1),
            handshakes: 0,
            sources: Sources::default(),
            to_device: WriteBatch::new(&tun),
            tun,
            socket,
            peers: PeerTable::new(),
            wheel: Wheel::new(now),
            due: Vec::new(),
            to_initiate: VecDeque::new(),
            initiates_at: now,
            segment: vec![0; MAX_PACKET + PADDING].into_boxed_slice(),
            drops: DropCounts::default(),
            now,
        }
    }

    pub(crate) const fn tun(&self) -> &Tun {
        &self.tun
    }

    pub(crate) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Sends and receives with another socket from now on. What has gathered leaves by the one before.
    pub(crate) fn replace_socket(&mut self, socket: UdpSocket) {
        self.flush();
        self.socket = socket;
    }

    /// Takes another key for its own; sessions made under the one before are the peers' to give up.
    fn become_known_by(&mut self, private: &PrivateKey) {
        self.private = private.secret().clone();
        self.public = x25519::PublicKey::from(&self.private);
        self.limiter = RateLimiter::new(&self.public, HANDSHAKES_PER_SECOND);
        self.unlimited = RateLimiter::new(&self.public, u64::MAX);
        self.handshakes = 0;
    }

    /// Sets the time that everything until the next call happens at.
    pub(crate) const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    pub(crate) fn statuses(&self) -> Vec<PeerStatus> {
        self.peers.iter().map(|peer| peer.status()).collect()
    }

    pub(crate) fn drops(&self) -> DropCounts {
        let mut drops = self.drops;
        drops.add(DropReason::SocketRefused, self.batch.refused());
        drops.add(DropReason::DeviceRefused, self.to_device.refused());
        drops
    }

    /// Sends what has gathered. Nothing waits in the batches while the loop sleeps.
    pub(crate) fn flush(&mut self) {
        self.flush_to_device();
        self.batch.flush(&self.socket);
    }

    /// Gives the device what has gathered for it.
    pub(crate) fn flush_to_device(&mut self) {
        self.to_device.flush(&self.tun);
    }

    /// Puts what boringtun has written into the batch's space under way, to `to` or to where the peer is.
    fn send(&mut self, slot: usize, output: &Output, to: Option<Endpoint>) {
        let &Output::Network(length) = output else { return };
        let Some(peer) = self.peers.get_mut(slot) else { return };
        // Also when it cannot be sent: boringtun waits for the answer to this one.
        peer.note_handshake(packet::handshake(&self.batch.space(&self.socket)[..length]));
        let Some(endpoint) = to.or(peer.endpoint) else { return self.drops.add(DropReason::NoEndpoint, 1) };
        self.batch.commit(length, &endpoint);
        peer.sent_bytes += length as u64;
        peer.active(self.now);
    }

    /// Sends the packets that waited for a session.
    fn send_queued(&mut self, slot: usize) {
        loop {
            let space = self.batch.space(&self.socket);
            let Some(peer) = self.peers.get_mut(slot) else { return };
            peer.queued = false;
            match Output::from(peer.tunn.decapsulate(None, &[], space)) {
                output @ Output::Network(_) => self.send(slot, &output, None),
                _ => return,
            }
        }
    }
}
