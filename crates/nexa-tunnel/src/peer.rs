use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use nexa_types::{Cidr, PublicKey};

use crate::cipher::Cipher;
use crate::packet::{self, Handshake};
use crate::wheel::TICK;
use crate::{PeerConfig, PeerStatus, PrivateKey};

/// For so long after a packet boringtun may want to send something: its longest wait is 15 s.
const ACTIVE: Duration = Duration::from_secs(16);
/// Sessions that boringtun keeps, by index.
const SESSIONS: u32 = 8;
/// How often a peer without traffic is looked at while it has keys: to rekey late, expire them and erase them.
const IDLE_TICK: Duration = Duration::from_secs(5);

/// Where a peer is, and which address of ours it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The peer's side; never v4-mapped.
    pub(crate) remote: SocketAddr,
    /// The address its last datagram reached; replies leave from there. Never v4-mapped.
    pub(crate) local: Option<IpAddr>,
}

impl Endpoint {
    pub(crate) const fn new(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// One peer: boringtun's state and what our loop knows beside it.
pub(crate) struct Peer {
    pub(crate) key: PublicKey,
    /// The upper 24 bits of every receiver index this peer is given; random, so that it cannot be guessed.
    pub(crate) index: u32,
    pub(crate) allowed_ips: Vec<Cidr>,
    pub(crate) tunn: Tunn,
    cipher: Cipher,
    pub(crate) endpoint: Option<Endpoint>,
    /// The index of the session that the peer asked for and has not used yet.
    pub(crate) unconfirmed: Option<u32>,
    /// The index of the initiation whose answer is awaited: the last that was made.
    asked: Option<u32>,
    /// The index that boringtun has given out last.
    last_index: u32,
    /// The index of the session that is sent with.
    current: Option<u32>,
    /// Packets wait inside boringtun for a session.
    pub(crate) queued: bool,
    pub(crate) last_handshake: Option<SystemTime>,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    /// The tick of the one wheel entry that counts; 0 for none.
    pub(crate) wakes_at: u64,
    keepalive: Option<Duration>,
    /// When something was last sent or authentically received.
    active_at: Instant,
    timers_at: Instant,
}

impl Peer {
    /// Sets up a peer. Costs two scalar multiplications.
    pub(crate) fn new(keys: &OwnKeys, index: u32, config: &PeerConfig, now: Instant) -> Self {
        Self {
            key: config.public_key,
            index,
            allowed_ips: Vec::new(),
            tunn: keys.tunn(config, index),
            cipher: Cipher::new(),
            endpoint: config.endpoint.map(Endpoint::new),
            unconfirmed: None,
            asked: None,
            last_index: index << 8,
            current: None,
            queued: false,
            last_handshake: None,
            received_bytes: 0,
            sent_bytes: 0,
            wakes_at: 0,
            keepalive: keepalive(config),
            active_at: now,
            timers_at: now,
        }
    }

    /// Seals a packet, or keeps it until there is a session.
    pub(crate) fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Output {
        self.cipher.seal(&mut self.tunn, packet, out)
    }

    /// Opens a data message.
    pub(crate) fn open(&mut self, message: &[u8], out: &mut [u8]) -> Output {
        self.cipher.open(&mut self.tunn, message, out)
    }

    /// Forgets all keys and begins with those of `tunn`.
    pub(crate) fn replace_keys(&mut self, tunn: Tunn, now: Instant) {
        self.tunn = tunn;
        self.cipher = Cipher::new();
        self.last_index = self.index << 8;
        (self.unconfirmed, self.asked, self.current) = (None, None, None);
        self.queued = false;
        self.timers_at = now;
    }

    /// Takes note of a handshake message that boringtun has made.
    pub(crate) const fn note_handshake(&mut self, made: Option<Handshake>) {
        match made {
            Some(Handshake::Initiation(index)) => (self.asked, self.last_index) = (Some(index), index),
            Some(Handshake::Response(index)) => self.last_index = index,
            None => {}
        }
    }

    /// Whether a response with this receiver index answers what was asked last.
    pub(crate) fn awaits(&self, receiver: u32) -> bool {
        self.asked == Some(receiver)
    }

    /// The other side has this session too, and it is the one to send with.
    pub(crate) fn confirm(&mut self, receiver: u32) {
        self.current = Some(receiver);
        self.asked = self.asked.filter(|asked| *asked != receiver);
    }

    /// Before an initiation is answered: boringtun keeps sessions in a ring of eight by index, and the new one, which
    /// the other side may never use, would take the place of the one that is sent with when eight tries have failed
    /// between. Then one index is passed over (docs/adr/0014). `scratch` has room for a handshake message.
    pub(crate) fn keep_session(&mut self, scratch: &mut [u8]) {
        let Some(current) = self.current.filter(|_| self.has_session()) else { return };
        let next = self.last_index.wrapping_add(1);
        if next % SESSIONS == current % SESSIONS
            && let TunnResult::WriteToNetwork(message) = self.tunn.format_handshake_initiation(scratch, true)
        {
            let passed_over = packet::handshake(message);
            self.note_handshake(passed_over);
            self.asked = None;
        }
    }

    pub(crate) fn set_keepalive(&mut self, config: &PeerConfig) {
        self.keepalive = keepalive(config);
    }

    /// Whether there is a session to send with.
    pub(crate) fn has_session(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// Whether the peer is to be kept reachable and nothing would be sent to it on its own.
    pub(crate) const fn wants_keepalive(&self) -> bool {
        self.keepalive.is_some()
    }

    pub(crate) const fn active(&mut self, now: Instant) {
        self.active_at = now;
    }

    /// boringtun stamps packets with the time of its last look at the timers: on a peer that slept it is old,
    /// and the session made now would count as expired.
    pub(crate) fn timers_are_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.timers_at) > 2 * TICK
    }

    /// Lets boringtun do what its timers ask for; what it wants to send is in `out`.
    pub(crate) fn run_timers(&mut self, now: Instant, out: &mut [u8]) -> Output {
        self.timers_at = now;
        let output = Output::from(self.tunn.update_timers(out));
        if matches!(output, Output::Failed(WireGuardError::ConnectionExpired)) {
            self.queued = false;
        }
        output
    }

    /// Whether the peer has been silent for as long as persistent keepalive allows.
    pub(crate) fn keepalive_due(&self, now: Instant) -> bool {
        self.keepalive_at().is_some_and(|at| at <= now)
    }

    /// When the peer's timers are to be looked at again; `None` for a peer that only its own packet or
    /// one for it can wake.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let timers = if now.saturating_duration_since(self.active_at) < ACTIVE {
            Some(now + TICK)
        } else if !self.tunn.is_expired() {
            Some(now + IDLE_TICK)
        } else {
            None
        };
        timers.into_iter().chain(self.keepalive_at()).min()
    }

    fn keepalive_at(&self) -> Option<Instant> {
        let interval = self.keepalive?;
        self.endpoint.map(|_| self.active_at + interval)
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            public_key: self.key,
            endpoint: self.endpoint.map(|endpoint| endpoint.remote),
            last_handshake: self.last_handshake,
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
        }
    }
}

/// What boringtun's state for each peer is made with.
pub(crate) struct OwnKeys {
    private: PrivateKey,
    /// Never limits: the loop has asked its own limiter already, and boringtun would count every handshake twice.
    unlimited: Arc<RateLimiter>,
}

impl OwnKeys {
    pub(crate) fn new(private: PrivateKey) -> Self {
        let public = x25519::PublicKey::from(private.secret());
        Self { private, unlimited: Arc::new(RateLimiter::new(&public, u64::MAX)) }
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.private.public_key()
    }

    /// boringtun's state for one peer. Persistent keepalive is not its business: it cannot be changed there without
    /// losing the session, and it ends with the first handshake that fails.
    pub(crate) fn tunn(&self, config: &PeerConfig, index: u32) -> Tunn {
        let theirs = x25519::PublicKey::from(*config.public_key.as_bytes());
        let psk = config.preshared_key.as_ref().map(|psk| *psk.as_bytes());
        Tunn::new(self.private.secret().clone(), theirs, psk, None, index, Some(Arc::clone(&self.unlimited)))
    }
}

fn keepalive(config: &PeerConfig) -> Option<Duration> {
    config
        .persistent_keepalive
        .filter(|seconds| *seconds != 0)
        .map(|seconds| Duration::from_secs(seconds.into()))
}

/// What a call into boringtun gave, without the borrow: the bytes are at the start of the buffer it was given.
#[derive(Debug)]
pub(crate) enum Output {
    Nothing,
    Network(usize),
    Device(usize),
    Failed(WireGuardError),
}

impl From<TunnResult<'_>> for Output {
    fn from(result: TunnResult<'_>) -> Self {
        match result {
            TunnResult::Done => Self::Nothing,
            TunnResult::WriteToNetwork(bytes) => Self::Network(bytes.len()),
            TunnResult::WriteToTunnelV4(bytes, _) | TunnResult::WriteToTunnelV6(bytes, _) => {
                Self::Device(bytes.len())
            }
            TunnResult::Err(error) => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests;
