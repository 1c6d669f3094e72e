//! What happens to a packet: which maps are asked, in which order, and what the answers mean.
//!
//! The BPF programs and the tests on the host run this same code, each with its own [`Tables`].

use crate::layout::{
    ALLOW, ALLOW_LAPSING, DEFAULT_DENY_SLOT, DENY, DestKey, EMPTY_CLASS, EMPTY_SET, FLOW_ANSWERED,
    FLOW_CLOSING, FLOW_NEW, FlowKey, FlowValue, PeerKey, PortsKey, PortsValue, Profile, SILENT, State,
};
use crate::packet::{ICMP, ICMPV6, Kind, Packet, TCP};
use crate::reason::Reason;

const SECOND_NS: u64 = 1_000_000_000;

/// The maps, as a program sees them.
pub trait Tables {
    /// Bank and generation; read once a packet, so that one packet sees one generation.
    fn state(&self) -> State;
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
    /// Writes a flow, over an older one if there is one.
    fn insert_flow(&self, key: &FlowKey, value: &FlowValue);
    /// Forgets a flow, if there is one.
    fn remove_flow(&self, key: &FlowKey);
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
}

/// [`Verdict::peer`] of a packet that is nobody's. No peer has this index.
pub const NOBODY: u32 = u32::MAX;

impl Verdict {
    /// A packet that ends before any rule was asked.
    pub const fn drop(peer: u32, reason: Reason) -> Self {
        Self { dropped: Some(reason), peer, rule: 0, slot: DEFAULT_DENY_SLOT }
    }
}

/// Decides on a packet that a peer sent: by the flow that it began, by one that another peer began with it, or anew.
pub fn ingress<T: Tables>(tables: &T, packet: &Packet, now_ns: u64) -> Verdict {
    let now = Now { bank: tables.state().bank(), ns: now_ns };
    let mut profile = Profile::default();
    if let Some(reason) = profile_of(tables, &packet.source, Reason::UnknownSource, &now, &mut profile) {
        return Verdict::drop(profile.peer, reason);
    }
    let sender = profile.peer;
    let reversed = packet.tuple.reversed();
    let (by_source, by_destination) = begun(packet, &reversed);
    let mut turn = Turn { kind: packet.kind, speaker: Speaker::Initiator, now_ns };
    // An answer begins nothing.
    if packet.kind != Kind::Reply {
        let followed = follow(tables, by_source, &profile, &turn);
        if followed.dropped != Some(Reason::NoFlow) {
            return followed;
        }
    }
    turn.speaker = Speaker::Responder;
    if tables.peer(&packet.destination).is_some() {
        if profile_of(tables, &packet.destination, Reason::UnknownPeer, &now, &mut profile).is_none() {
            let answered = follow(tables, by_destination, &profile, &turn);
            if answered.dropped.is_none() {
                return Verdict { peer: sender, ..answered };
            }
        }
        // Whatever is wrong with that flow, the sender may have a word of its own.
        if let Some(reason) = profile_of(tables, &packet.source, Reason::UnknownSource, &now, &mut profile) {
            return Verdict::drop(sender, reason);
        }
    }
    match packet.kind {
        Kind::Plain | Kind::Opening | Kind::Closing => begin(tables, packet, &profile, now_ns),
        Kind::Reply | Kind::Error => Verdict::drop(sender, Reason::NoFlow),
    }
}

/// Decides on a packet for a peer: it passes only on a live flow that the peer began, or that another peer began with it.
pub fn egress<T: Tables>(tables: &T, packet: &Packet, now_ns: u64) -> Verdict {
    let now = Now { bank: tables.state().bank(), ns: now_ns };
    let mut profile = Profile::default();
    if let Some(reason) = profile_of(tables, &packet.destination, Reason::UnknownPeer, &now, &mut profile) {
        return Verdict::drop(profile.peer, reason);
    }
    let receiver = profile.peer;
    let reversed = packet.tuple.reversed();
    let (by_source, by_destination) = begun(packet, &reversed);
    let mut turn = Turn { kind: packet.kind, speaker: Speaker::Responder, now_ns };
    let followed = follow(tables, by_destination, &profile, &turn);
    if followed.dropped != Some(Reason::NoFlow) {
        return followed;
    }
    turn.speaker = Speaker::Initiator;
    if profile_of(tables, &packet.source, Reason::UnknownPeer, &now, &mut profile).is_none() {
        // The program at the ingress admitted it and made its flow.
        let passed = follow(tables, by_source, &profile, &turn);
        if passed.dropped.is_none() {
            return Verdict { peer: receiver, ..passed };
        }
    }
    Verdict::drop(receiver, Reason::NoFlow)
}

/// The keys of the flows that a packet would belong to: one that its sender began, and one that its receiver began. An
/// error quotes a packet that went the other way.
const fn begun<'a>(packet: &'a Packet, reversed: &'a FlowKey) -> (&'a FlowKey, &'a FlowKey) {
    match packet.kind {
        Kind::Plain | Kind::Opening | Kind::Closing | Kind::Reply => (&packet.tuple, reversed),
        Kind::Error => (reversed, &packet.tuple),
    }
}

/// The word of policy alone, without flows: what [`begin`] and stale flows are decided by.
///
/// Two sets are asked; any deny denies, else any allow admits, and the lowest rule of the deciding effect is named.
/// What no rule speaks of is [`SILENT`], a value like the others and no Option, for the reason given at [`Verdict`].
pub fn decide<T: Tables>(tables: &T, profile: &Profile, tuple: &FlowKey, now_ns: u64) -> PortsValue {
    let shared = lookup(tables, profile.shared, tuple, now_ns);
    let own = lookup(tables, profile.own, tuple, now_ns);
    if own.verdict() == SILENT {
        return shared;
    }
    if shared.verdict() == SILENT {
        return own;
    }
    stronger(shared, own)
}

/// The verdict on a packet that nobody sent: [`ingress`] as it would be without any flow. It makes none.
pub fn hypothetical<T: Tables>(tables: &T, source: &PeerKey, tuple: &FlowKey, now_ns: u64) -> Verdict {
    let now = Now { bank: tables.state().bank(), ns: now_ns };
    let mut profile = Profile::default();
    match profile_of(tables, source, Reason::UnknownSource, &now, &mut profile) {
        None => verdict_of(&profile, &decide(tables, &profile, tuple, now_ns)),
        Some(reason) => Verdict::drop(profile.peer, reason),
    }
}

const NOTHING_SAID: PortsValue = PortsValue::new(SILENT, DEFAULT_DENY_SLOT, 0, 0);

fn lookup<T: Tables>(tables: &T, set: u32, tuple: &FlowKey, now_ns: u64) -> PortsValue {
    if set == EMPTY_SET {
        return NOTHING_SAID;
    }
    let key = DestKey::new(set, tuple.family(), tuple.destination);
    let Some(class) = tables.class(&key) else { return NOTHING_SAID };
    if class == EMPTY_CLASS {
        return NOTHING_SAID;
    }
    let key = PortsKey { class: class.to_be_bytes(), protocol: tuple.protocol, port: tuple.destination_port };
    let Some(value) = tables.ports(&key) else { return NOTHING_SAID };
    if value.not_after_ns <= now_ns {
        // What comes after is for the daemon to say. Until it does, nothing is granted here; and nothing refused
        // where only this grant ends.
        if value.verdict() == ALLOW_LAPSING {
            return NOTHING_SAID;
        }
        return PortsValue::new(DENY, value.slot(), value.rule, value.not_after_ns);
    }
    value
}

const fn allows(word: &PortsValue) -> bool {
    matches!(word.verdict(), ALLOW | ALLOW_LAPSING)
}

const fn stronger(one: PortsValue, other: PortsValue) -> PortsValue {
    let one_allows = allows(&one);
    let other_allows = allows(&other);
    if one_allows != other_allows {
        return if one_allows { other } else { one };
    }
    if one.rule <= other.rule { one } else { other }
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
    let found = tables.profile(now.bank, peer);
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

/// When the packet at hand is looked at. The bank is read once, so that one packet sees one generation.
struct Now {
    bank: u32,
    ns: u64,
}

/// The packet at hand, as its flow sees it. One struct, since BPF functions take five arguments.
struct Turn {
    kind: Kind,
    speaker: Speaker,
    now_ns: u64,
}

/// Who sent the packet at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Initiator,
    Responder,
}

/// The verdict of a live flow, decided anew if policy has changed under it; [`Reason::NoFlow`] where there is none.
// Inline: BPF programs have 512 bytes of stack, and Linux 6.1 counts at least 32 for each call.
#[inline(always)]
fn follow<T: Tables>(tables: &T, key: &FlowKey, profile: &Profile, turn: &Turn) -> Verdict {
    let now_ns = turn.now_ns;
    let seen = tables.flow(key, |flow| {
        if flow.peer != profile.peer || is_idle(flow, key.protocol, now_ns) {
            return DEAD;
        }
        advance(flow, turn);
        let current = flow.shared == profile.shared && flow.own == profile.own && flow.epoch == profile.epoch;
        if current && now_ns < flow.not_after_ns {
            Seen { state: LIVE, rule: flow.rule, word: flow.word }
        } else {
            Seen { state: STALE, rule: flow.rule, word: flow.word }
        }
    });
    let Seen { state, rule, word } = seen.unwrap_or(DEAD);
    match state {
        LIVE => Verdict { dropped: None, peer: profile.peer, rule, slot: FlowValue::slot_of(word) },
        STALE => settle(tables, key, profile, &Occasion { phase: FlowValue::phase_of(word), now_ns }),
        _ => Verdict::drop(profile.peer, Reason::NoFlow),
    }
}

/// When a flow is decided, and how far it is.
struct Occasion {
    phase: u32,
    now_ns: u64,
}

/// What policy says of a flow: one that it allows is there afterwards, one that it refuses is not.
///
/// On its own, since what it holds on the stack is more than all else that the programs do meanwhile.
#[inline(never)]
fn settle<T: Tables>(tables: &T, key: &FlowKey, profile: &Profile, occasion: &Occasion) -> Verdict {
    let word = decide(tables, profile, key, occasion.now_ns);
    if allows(&word) {
        tables.insert_flow(key, &flow_of(profile, &word, occasion.phase, occasion.now_ns));
    } else {
        tables.remove_flow(key);
    }
    verdict_of(profile, &word)
}

/// What was seen of a flow. Flat, for the reason given at [`Verdict`].
#[derive(Clone, Copy)]
struct Seen {
    state: u32,
    rule: u32,
    word: u32,
}

const LIVE: u32 = 1;
const STALE: u32 = 2;
const DEAD: Seen = Seen { state: 0, rule: 0, word: 0 };

/// Decides on a packet that belongs to no flow; allowed, it begins one.
fn begin<T: Tables>(tables: &T, packet: &Packet, profile: &Profile, now_ns: u64) -> Verdict {
    let phase = match packet.kind {
        Kind::Closing => FLOW_CLOSING,
        // In the middle of a connection whose flow was lost: the other end has long answered.
        Kind::Plain if packet.tuple.protocol == TCP => FLOW_ANSWERED,
        _ => FLOW_NEW,
    };
    settle(tables, &packet.tuple, profile, &Occasion { phase, now_ns })
}

const fn flow_of(profile: &Profile, value: &PortsValue, phase: u32, now_ns: u64) -> FlowValue {
    FlowValue {
        peer: profile.peer,
        shared: profile.shared,
        own: profile.own,
        epoch: profile.epoch,
        rule: value.rule,
        word: FlowValue::word(value.slot(), phase),
        seen_ns: now_ns,
        not_after_ns: value.not_after_ns,
    }
}

const fn verdict_of(profile: &Profile, word: &PortsValue) -> Verdict {
    let dropped = match word.verdict() {
        ALLOW | ALLOW_LAPSING => None,
        SILENT => Some(Reason::NoRule),
        _ => Some(Reason::RuleDeny),
    };
    Verdict { dropped, peer: profile.peer, rule: word.rule, slot: word.slot() }
}

/// How long a silent flow lives, by protocol and phase (RFC 5382 §5 for TCP, RFC 4787 §4.3 for UDP).
const fn idle_limit_ns(protocol: u8, phase: u32) -> u64 {
    match (protocol, phase) {
        (TCP, FLOW_ANSWERED) => 2 * 3600 * SECOND_NS + 240 * SECOND_NS,
        (TCP | ICMP | ICMPV6, _) | (_, FLOW_NEW) => 30 * SECOND_NS,
        _ => 180 * SECOND_NS,
    }
}

const fn is_idle(flow: &FlowValue, protocol: u8, now_ns: u64) -> bool {
    // Another CPU may have written a slightly later time than this one has read.
    now_ns.saturating_sub(flow.seen_ns) >= idle_limit_ns(protocol, flow.phase())
}

/// Whether a packet of this flow would pass without being decided anew, its peer's profile being the live one.
pub fn is_live(key: &FlowKey, flow: &FlowValue, profile: &Profile, now_ns: u64) -> bool {
    let current = flow.shared == profile.shared && flow.own == profile.own && flow.epoch == profile.epoch;
    let owned = flow.peer == profile.peer && now_ns < profile.lease_until_ns;
    owned && current && now_ns < flow.not_after_ns && !is_idle(flow, key.protocol, now_ns)
}

/// Notes what the packet says of the conversation. Fields are written only on change: a written cache line
/// travels between cores.
fn advance(flow: &mut FlowValue, turn: &Turn) {
    let phase = match (turn.kind, turn.speaker) {
        // Errors are no sign of life of either end.
        (Kind::Error, _) => return,
        (Kind::Closing, _) => FLOW_CLOSING,
        (Kind::Opening, Speaker::Initiator) => FLOW_NEW,
        (_, Speaker::Responder) if flow.phase() == FLOW_NEW => FLOW_ANSWERED,
        _ => flow.phase(),
    };
    if flow.phase() != phase {
        flow.word = FlowValue::word(flow.slot(), phase);
    }
    if turn.now_ns.saturating_sub(flow.seen_ns) >= SECOND_NS {
        flow.seen_ns = turn.now_ns;
    }
}
