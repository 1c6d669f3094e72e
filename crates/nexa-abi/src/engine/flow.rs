//! Flows: conversations that were admitted, and when they are over.

use super::excluded::silence;
use super::recent::{self, UNSEEN_NS};
use super::word::{allows, decide};
use super::{Now, Tables, Verdict};
use crate::layout::{
    ALLOW, ALLOW_LAPSING, FLOW_ANSWERED, FLOW_CLOSING, FLOW_NEW, FlowKey, FlowValue, PortsValue, Profile,
    SILENT,
};
use crate::packet::{ICMP, ICMPV6, Kind, Packet, TCP};
use crate::reason::Reason;

const SECOND_NS: u64 = 1_000_000_000;

/// The packet at hand, as its flow sees it. One struct, since BPF functions take five arguments.
pub(super) struct Turn<'a> {
    pub kind: Kind,
    pub speaker: Speaker,
    pub now: &'a Now,
}

/// Who sent the packet at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Initiator,
    Responder,
}

/// What a look at a flow found.
pub(super) struct Glance {
    pub state: u32,
    peer: u32,
    rule: u32,
    word: u32,
}

impl Glance {
    /// The verdict of a live one.
    #[inline(always)]
    pub fn verdict(&self) -> Verdict {
        let slot = FlowValue::slot_of(self.word);
        Verdict { dropped: None, peer: self.peer, rule: self.rule, slot, began: false }
    }
}

/// Looks at a flow before anybody asks whose packet it is: of a live one, it says so itself.
///
/// The flow's key holds the address of who began it, and its epoch is that of the device's hold on this address: a profile
/// with this epoch means that the address is still the device's ([`Profile::epoch`]). So the packet's source, or at the
/// egress its destination, is checked here as it is by a lookup in PEERS, which most packets are spared.
#[inline(always)]
pub(super) fn glance<T: Tables>(tables: &T, key: &FlowKey, turn: &Turn<'_>) -> Glance {
    let nothing = |state| Glance { state, peer: 0, rule: 0, word: 0 };
    let Now { state, ns } = *turn.now;
    let seen = tables.flow(key, |flow| {
        let Some(profile) = tables.profile(state.bank(), flow.peer) else { return nothing(STALE) };
        if !is_live(key, flow, &profile, ns) {
            return nothing(STALE);
        }
        advance(flow, turn);
        tables.recent(recent::place(key), |recent| recent.note(key, flow, &profile, turn.now));
        Glance { state: LIVE, peer: flow.peer, rule: flow.rule, word: flow.word }
    });
    seen.unwrap_or(nothing(ABSENT))
}

/// The verdict of a live flow, decided anew if policy has changed under it; [`Reason::NoFlow`] where there is none.
// Inline: BPF programs have 512 bytes of stack, and Linux 6.1 counts at least 32 for each call.
#[inline(always)]
pub(super) fn follow<T: Tables>(tables: &T, key: &FlowKey, profile: &Profile, turn: &Turn<'_>) -> Verdict {
    let now_ns = turn.now.ns;
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
        LIVE => {
            Verdict { dropped: None, peer: profile.peer, rule, slot: FlowValue::slot_of(word), began: false }
        }
        STALE => {
            let phase = FlowValue::phase_of(word);
            settle(tables, key, profile, &Occasion { phase, fresh: false, now: turn.now })
        }
        _ => Verdict::drop(profile.peer, Reason::NoFlow),
    }
}

/// When a flow is decided, and how far it is.
struct Occasion<'a> {
    phase: u32,
    /// Whether it is none yet.
    fresh: bool,
    now: &'a Now,
}

/// What policy says of a flow: one that it allows is there afterwards, one that it refuses is not.
///
/// On its own, since what it holds on the stack is more than all else that the programs do meanwhile.
#[inline(never)]
fn settle<T: Tables>(tables: &T, key: &FlowKey, profile: &Profile, occasion: &Occasion<'_>) -> Verdict {
    let ns = occasion.now.ns;
    let word = decide(tables, profile, key, ns);
    let mut verdict = verdict_of(tables, profile, key, &word);
    if allows(&word) {
        if occasion.fresh && !may_begin(tables, profile.peer, ns) {
            verdict.dropped = Some(Reason::NewFlowLimit);
            return verdict;
        }
        let flow = flow_of(profile, &word, occasion.phase, ns);
        tables.insert_flow(key, &flow);
        tables.recent(recent::place(key), |recent| recent.note(key, &flow, profile, occasion.now));
        verdict.began = occasion.fresh;
    } else if !occasion.fresh {
        tables.remove_flow(key);
    }
    verdict
}

fn may_begin<T: Tables>(tables: &T, peer: u32, now_ns: u64) -> bool {
    let limit = tables.new_flow_limit();
    // A peer without a place for its usage is none that there can be.
    tables.usage(peer, |usage| limit.take(&mut usage.new_flows_ns, now_ns)).unwrap_or(false)
}

/// What was seen of a flow. Flat, for the reason given at [`Verdict`].
#[derive(Clone, Copy)]
struct Seen {
    state: u32,
    rule: u32,
    word: u32,
}

/// It would pass as it is.
pub(super) const LIVE: u32 = 1;
const STALE: u32 = 2;
/// There is none.
pub(super) const ABSENT: u32 = 3;
const DEAD: Seen = Seen { state: 0, rule: 0, word: 0 };

/// Decides on a packet that belongs to no flow; allowed, it begins one.
pub(super) fn begin<T: Tables>(tables: &T, packet: &Packet, profile: &Profile, now: &Now) -> Verdict {
    let phase = match packet.kind {
        Kind::Closing => FLOW_CLOSING,
        // In the middle of a connection whose flow was lost: the other end has long answered.
        Kind::Plain if packet.tuple.protocol == TCP => FLOW_ANSWERED,
        _ => FLOW_NEW,
    };
    settle(tables, &packet.tuple, profile, &Occasion { phase, fresh: true, now })
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

pub(super) fn verdict_of<T: Tables>(
    tables: &T,
    profile: &Profile,
    tuple: &FlowKey,
    word: &PortsValue,
) -> Verdict {
    let dropped = match word.verdict() {
        ALLOW | ALLOW_LAPSING => None,
        SILENT => Some(silence(tables, tuple)),
        _ => Some(Reason::RuleDeny),
    };
    Verdict { dropped, peer: profile.peer, rule: word.rule, slot: word.slot(), began: false }
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
    // An empty profile, of nobody, has a lease that ended at 0.
    let owned = flow.peer == profile.peer && now_ns < profile.lease_until_ns;
    owned && current && now_ns < flow.not_after_ns && !is_idle(flow, key.protocol, now_ns)
}

/// Notes what the packet says of the conversation. Fields are written only on change: a written cache line
/// travels between cores.
fn advance(flow: &mut FlowValue, turn: &Turn<'_>) {
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
    if turn.now.ns.saturating_sub(flow.seen_ns) >= UNSEEN_NS {
        flow.seen_ns = turn.now.ns;
    }
}
