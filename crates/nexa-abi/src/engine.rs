//! What happens to a packet: which maps are asked, in which order, and what the answers mean.
//!
//! The BPF programs and the tests on the host run this same code, each with its own [`Tables`].

use core::hint::black_box;

use crate::layout::{
    DEFAULT_DENY_SLOT, DestKey, Direction, FlowKey, FlowValue, FragmentKey, FragmentValue, PeerKey, PortsKey,
    PortsValue, Profile, State, Usage,
};
use crate::packet::{Kind, Packet};
use crate::reason::Reason;

mod excluded;
mod flow;
mod fragment;
mod limit;
mod recent;
mod tell;
mod word;

pub use flow::is_live;
pub use limit::Limit;
pub use recent::{Recent, recall};
pub use tell::{tell, untell};
pub use word::decide;

use flow::{ABSENT, LIVE, Speaker, Turn, begin, follow, glance, verdict_of};

/// The maps, as a program sees them.
pub trait Tables {
    /// Bank and generation; read once a packet, so that one packet sees one generation.
    fn state(&self) -> State;
    /// The set of what no resource covers.
    fn excluded(&self) -> u32;
    /// Index of the peer that owns an address.
    fn peer(&self, key: &PeerKey) -> Option<u32>;
    /// Profile of a peer in a bank.
    fn profile(&self, bank: u32, peer: u32) -> Option<Profile>;
    /// Class of the longest prefix.
    fn class(&self, key: &DestKey) -> Option<u32>;
    /// Verdict of the longest prefix.
    fn ports(&self, key: &PortsKey) -> Option<PortsValue>;
    /// Looks at a flow and may change it in place.
    fn flow<R>(&self, key: &FlowKey, look: impl FnOnce(&mut FlowValue) -> R) -> Option<R>;
    /// Looks at one of the places where this CPU notes flows, chosen by any bits of `place`, and may change it. Nothing where
    /// none are noted.
    fn recent<R>(&self, place: u64, look: impl FnOnce(&mut Recent) -> R) -> Option<R>;
    /// Writes a flow, over an older one if there is one.
    fn insert_flow(&self, key: &FlowKey, value: &FlowValue);
    /// Forgets a flow, if there is one.
    fn remove_flow(&self, key: &FlowKey);
    /// Where the first fragment of a datagram went.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue>;
    /// Notes where the first fragment of a datagram goes.
    fn insert_fragment(&self, key: &FragmentKey, value: &FragmentValue);
    /// Looks at what a peer, or [`NOBODY`], has used of its limits, and may change it in place.
    fn usage<R>(&self, peer: u32, look: impl FnOnce(&mut Usage) -> R) -> Option<R>;
    /// How many flows a peer may begin in a time, so that none can evict those of others.
    fn new_flow_limit(&self) -> Limit;
}

/// What happens to a packet.
///
/// A flat struct whose fields are always written: of an enum LLVM copies the fields of variants that it is not, and
/// the verifier refuses to read what was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why it ends here; a packet without a reason goes on.
    pub dropped: Option<Reason>,
    /// Index of the peer it is from or for; [`NOBODY`] where that is unknown.
    pub peer: u32,
    /// Number of the rule that allows or refuses it; 0 where none does.
    pub rule: u32,
    /// Where that is counted. Of no meaning where no rule was asked.
    pub slot: u32,
    /// Whether it began a flow.
    pub began: bool,
}

/// When the packet at hand is looked at, and under which generation: read once, so that one packet sees one.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The generation and its bank.
    pub state: State,
    /// Boot clock, nanoseconds.
    pub ns: u64,
}

impl Now {
    /// This moment, under the generation in force.
    pub fn at<T: Tables>(tables: &T, ns: u64) -> Self {
        Self { state: tables.state(), ns }
    }
}

/// [`Verdict::peer`] of a packet that is nobody's. No peer has this index.
pub const NOBODY: u32 = u32::MAX;

impl Verdict {
    /// A packet that ends before any rule was asked.
    #[inline(always)]
    pub fn drop(peer: u32, reason: Reason) -> Self {
        // Opaque: of zeros side by side LLVM makes a call that writes them byte by byte.
        let (rule, slot) = (black_box(0), DEFAULT_DENY_SLOT);
        Self { dropped: Some(reason), peer, rule, slot, began: false }
    }
}

/// Decides on a packet: one from a peer at the ingress, one for a peer at the egress. Of a later fragment, ports are
/// filled in.
#[inline(always)]
pub fn judge<T: Tables>(tables: &T, packet: &mut Packet, direction: Direction, now: &Now) -> Verdict {
    let orphan = packet.is_later_fragment() && !fragment::complete(tables, packet, direction, now);
    let verdict = match direction {
        Direction::Ingress => ingress(tables, packet, orphan, now),
        Direction::Egress => egress(tables, packet, orphan, now),
    };
    if packet.is_first_fragment() && verdict.dropped.is_none() {
        fragment::note(tables, packet, direction, now);
    }
    verdict
}

/// Decides on a packet that a peer sent: by the flow that it began, by one that another peer began with it, or anew.
#[inline(always)]
fn ingress<T: Tables>(tables: &T, packet: &mut Packet, orphan: bool, now: &Now) -> Verdict {
    let mut turn = Turn { kind: packet.kind, speaker: Speaker::Initiator, now };
    let mut known_to_be_absent = false;
    if !orphan && packet.kind.begins() {
        let glance = glance(tables, &packet.tuple, &turn);
        if glance.state == LIVE {
            return glance.verdict();
        }
        known_to_be_absent = glance.state == ABSENT;
    }
    let mut profile = nobody();
    if let Some(reason) = profile_of(tables, &packet.source, Reason::UnknownSource, now, &mut profile) {
        return Verdict::drop(profile.peer, reason);
    }
    let sender = profile.peer;
    if orphan {
        return Verdict::drop(sender, Reason::Fragment);
    }
    packet.reversed = packet.tuple.reversed();
    let (by_source, by_destination) = begun(packet);
    // An answer begins nothing.
    if packet.kind != Kind::Reply && !known_to_be_absent && is_of(packet, by_source, &packet.source) {
        let followed = follow(tables, by_source, &profile, &turn);
        if followed.dropped != Some(Reason::NoFlow) {
            return followed;
        }
    }
    turn.speaker = Speaker::Responder;
    if is_of(packet, by_destination, &packet.destination) && tables.peer(&packet.destination).is_some() {
        if profile_of(tables, &packet.destination, Reason::UnknownPeer, now, &mut profile).is_none() {
            let answered = follow(tables, by_destination, &profile, &turn);
            if answered.dropped.is_none() {
                return Verdict { peer: sender, ..answered };
            }
        }
        // Whatever is wrong with that flow, the sender may have a word of its own.
        if let Some(reason) = profile_of(tables, &packet.source, Reason::UnknownSource, now, &mut profile) {
            return Verdict::drop(sender, reason);
        }
    }
    if packet.kind.begins() {
        begin(tables, packet, &profile, now)
    } else {
        Verdict::drop(sender, Reason::NoFlow)
    }
}

/// Decides on a packet for a peer: it passes only on a live flow that the peer began, or that another peer began with it.
#[inline(always)]
fn egress<T: Tables>(tables: &T, packet: &mut Packet, orphan: bool, now: &Now) -> Verdict {
    packet.reversed = packet.tuple.reversed();
    let mut turn = Turn { kind: packet.kind, speaker: Speaker::Responder, now };
    if !orphan && packet.kind != Kind::Error {
        let glance = glance(tables, &packet.reversed, &turn);
        if glance.state == LIVE {
            return glance.verdict();
        }
    }
    let mut profile = nobody();
    if let Some(reason) = profile_of(tables, &packet.destination, Reason::UnknownPeer, now, &mut profile) {
        return Verdict::drop(profile.peer, reason);
    }
    let receiver = profile.peer;
    if orphan {
        return Verdict::drop(receiver, Reason::Fragment);
    }
    let (by_source, by_destination) = begun(packet);
    if is_of(packet, by_destination, &packet.destination) {
        let followed = follow(tables, by_destination, &profile, &turn);
        if followed.dropped != Some(Reason::NoFlow) {
            return followed;
        }
    }
    turn.speaker = Speaker::Initiator;
    if is_of(packet, by_source, &packet.source)
        && profile_of(tables, &packet.source, Reason::UnknownPeer, now, &mut profile).is_none()
    {
        // The program at the ingress admitted it and made its flow.
        let passed = follow(tables, by_source, &profile, &turn);
        if passed.dropped.is_none() {
            return Verdict { peer: receiver, ..passed };
        }
    }
    Verdict::drop(receiver, Reason::NoFlow)
}

/// Whether a flow is of who sends or receives the packet at hand. What an error quotes may be of another address, which
/// its device no longer has: such a flow must not be decided anew, as if it were of the address that the device has now.
fn is_of(packet: &Packet, flow: &FlowKey, end: &PeerKey) -> bool {
    packet.kind != Kind::Error || u128::from_ne_bytes(flow.source) == u128::from_ne_bytes(end.address)
}

/// The keys of the flows that a packet would belong to: one that its sender began, and one that its receiver began. An
/// error quotes a packet that went the other way.
const fn begun(packet: &Packet) -> (&FlowKey, &FlowKey) {
    match packet.kind {
        Kind::Plain | Kind::Opening | Kind::Closing | Kind::Reply => (&packet.tuple, &packet.reversed),
        Kind::Error => (&packet.reversed, &packet.tuple),
    }
}

/// The verdict on a packet that nobody sent: [`judge`] as it would be without any flow. It makes none.
pub fn hypothetical<T: Tables>(tables: &T, source: &PeerKey, tuple: &FlowKey, now_ns: u64) -> Verdict {
    let now = Now::at(tables, now_ns);
    let mut profile = nobody();
    match profile_of(tables, source, Reason::UnknownSource, &now, &mut profile) {
        None => verdict_of(tables, &profile, tuple, &decide(tables, &profile, tuple, now_ns)),
        Some(reason) => Verdict::drop(profile.peer, reason),
    }
}

/// A place for a profile.
#[inline(always)]
fn nobody() -> Profile {
    // Opaque, for the reason given at [`Verdict::drop`].
    let zero = black_box(0);
    Profile { peer: NOBODY, shared: zero, own: zero, epoch: zero, lease_until_ns: zero.into() }
}

/// Finds the profile of the peer with an address, and says why it is none to go by. [`Profile::peer`] is always written,
/// [`NOBODY`] where nobody has the address.
///
/// Into a place of the caller's, who has one place for several peers: a returned one would take two on the stack.
fn profile_of<T: Tables>(
    tables: &T,
    key: &PeerKey,
    unknown: Reason,
    now: &Now,
    profile: &mut Profile,
) -> Option<Reason> {
    let Some(peer) = tables.peer(key) else {
        profile.peer = NOBODY;
        return Some(unknown);
    };
    let found = tables.profile(now.state.bank(), peer);
    profile.peer = peer;
    let Some(found) = found else { return Some(Reason::Inconsistent) };
    // An empty profile means that the peer is not in this generation, its address about to leave the map.
    if found.lease_until_ns == 0 {
        return Some(unknown);
    }
    if found.peer != peer {
        return Some(Reason::Inconsistent);
    }
    if found.lease_until_ns <= now.ns {
        return Some(Reason::LeaseExpired);
    }
    *profile = found;
    None
}
