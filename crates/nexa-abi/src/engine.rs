//! What happens to a packet: which maps are asked, in which order, and what the answers mean.
//!
//! The BPF programs and the tests on the host run this same code, each with its own [`Tables`].

use crate::layout::{
    ALLOW, DENY, DestKey, EMPTY_CLASS, EMPTY_SET, FLOW_ANSWERED, FLOW_CLOSING, FLOW_NEW, FlowKey, FlowValue,
    PeerKey, PortsKey, PortsValue, Profile, State,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass {
        /// Index of the peer it is from or for.
        peer: u32,
        /// Number of the rule that allows it.
        rule: u32,
    },
    /// It ends here.
    Drop {
        /// Index of the peer it is from or for, where that is known.
        peer: Option<u32>,
        /// Why.
        reason: Reason,
        /// Number of the rule that refuses it; 0 where none does.
        rule: u32,
    },
}

/// Decides on a packet that a peer sent.
pub fn ingress<T: Tables>(tables: &T, packet: &Packet, now_ns: u64) -> Verdict {
    let profile = match profile_of(tables, &packet.source, Reason::UnknownSource, now_ns) {
        Ok(profile) => profile,
        Err(verdict) => return verdict,
    };
    match packet.kind {
        Kind::Plain | Kind::Opening | Kind::Closing => {
            match follow(tables, &packet.tuple, &profile, packet.kind, Speaker::Initiator, now_ns) {
                Some(verdict) => verdict,
                None => begin(tables, packet, &profile, now_ns),
            }
        }
        Kind::Reply => no_flow(&profile),
        Kind::Error => {
            // The quoted packet went to this peer, so it was an answer of the flow that the peer began.
            if packet.tuple.destination != packet.source.address {
                return no_flow(&profile);
            }
            let begun = packet.tuple.reversed();
            follow(tables, &begun, &profile, packet.kind, Speaker::Initiator, now_ns)
                .unwrap_or_else(|| no_flow(&profile))
        }
    }
}

/// Decides on a packet for a peer: it passes only on a live flow that the peer began.
pub fn egress<T: Tables>(tables: &T, packet: &Packet, now_ns: u64) -> Verdict {
    let profile = match profile_of(tables, &packet.destination, Reason::UnknownPeer, now_ns) {
        Ok(profile) => profile,
        Err(verdict) => return verdict,
    };
    let begun = match packet.kind {
        Kind::Plain | Kind::Opening | Kind::Closing | Kind::Reply => packet.tuple.reversed(),
        // The quoted packet came from this peer: its tuple is the flow's.
        Kind::Error => packet.tuple,
    };
    // For an error the quoted sender must be the peer that the error goes to; for the rest this holds anyway.
    if begun.source != packet.destination.address {
        return no_flow(&profile);
    }
    follow(tables, &begun, &profile, packet.kind, Speaker::Responder, now_ns).unwrap_or_else(|| no_flow(&profile))
}

/// The word of policy alone, without flows: what [`begin`] and stale flows are decided by.
///
/// Two sets are asked; any deny denies, else any allow admits, and the lowest rule of the deciding effect is named.
pub fn decide<T: Tables>(tables: &T, profile: &Profile, tuple: &FlowKey, now_ns: u64) -> Option<PortsValue> {
    let shared = lookup(tables, profile.shared, tuple, now_ns);
    let own = lookup(tables, profile.own, tuple, now_ns);
    match (shared, own) {
        (Some(shared), Some(own)) => Some(stronger(shared, own)),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}

fn lookup<T: Tables>(tables: &T, set: u32, tuple: &FlowKey, now_ns: u64) -> Option<PortsValue> {
    if set == EMPTY_SET {
        return None;
    }
    let class =
        tables.class(&DestKey { set: set.to_be_bytes(), family: tuple.family, address: tuple.destination })?;
    if class == EMPTY_CLASS {
        return None;
    }
    let key =
        PortsKey { class: class.to_be_bytes(), protocol: tuple.protocol, port: tuple.destination_port };
    let value = tables.ports(&key)?;
    if value.not_after_ns <= now_ns {
        // What comes after is for the daemon to say. Until it does, nothing is granted here.
        return Some(PortsValue { verdict: DENY, ..value });
    }
    Some(value)
}

const fn stronger(one: PortsValue, other: PortsValue) -> PortsValue {
    let one_allows = one.verdict == ALLOW;
    let other_allows = other.verdict == ALLOW;
    if one_allows != other_allows {
        return if one_allows { other } else { one };
    }
    if one.rule <= other.rule { one } else { other }
}

fn profile_of<T: Tables>(tables: &T, key: &PeerKey, unknown: Reason, now_ns: u64) -> Result<Profile, Verdict> {
    let Some(peer) = tables.peer(key) else {
        return Err(Verdict::Drop { peer: None, reason: unknown, rule: 0 });
    };
    let Some(profile) = tables.profile(tables.state().bank(), peer) else {
        return Err(Verdict::Drop { peer: Some(peer), reason: Reason::Inconsistent, rule: 0 });
    };
    // An empty profile means that the peer is not in this generation, its address about to leave the map.
    if profile.lease_until_ns == 0 {
        return Err(Verdict::Drop { peer: Some(peer), reason: unknown, rule: 0 });
    }
    if profile.peer != peer {
        return Err(Verdict::Drop { peer: Some(peer), reason: Reason::Inconsistent, rule: 0 });
    }
    if profile.lease_until_ns <= now_ns {
        return Err(Verdict::Drop { peer: Some(peer), reason: Reason::LeaseExpired, rule: 0 });
    }
    Ok(profile)
}

/// Who sent the packet at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Initiator,
    Responder,
}

/// A verdict where there is a live flow, decided anew if policy has changed under it; nothing where there is none.
fn follow<T: Tables>(
    tables: &T,
    key: &FlowKey,
    profile: &Profile,
    kind: Kind,
    speaker: Speaker,
    now_ns: u64,
) -> Option<Verdict> {
    let seen = tables.flow(key, |flow| {
        if flow.peer != profile.peer || is_idle(flow, key.protocol, now_ns) {
            return Seen::Dead;
        }
        advance(flow, kind, speaker, now_ns);
        let current = flow.shared == profile.shared && flow.own == profile.own && flow.epoch == profile.epoch;
        if current && now_ns < flow.not_after_ns { Seen::Live { rule: flow.rule } } else { Seen::Stale { phase: flow.phase } }
    })?;
    match seen {
        Seen::Dead => None,
        Seen::Live { rule } => Some(Verdict::Pass { peer: profile.peer, rule }),
        Seen::Stale { phase } => Some(match decide(tables, profile, key, now_ns) {
            Some(value) if value.verdict == ALLOW => {
                tables.insert_flow(key, &flow_of(profile, &value, phase, now_ns));
                Verdict::Pass { peer: profile.peer, rule: value.rule }
            }
            refused => {
                tables.remove_flow(key);
                refuse(profile, refused)
            }
        }),
    }
}

enum Seen {
    Dead,
    Live { rule: u32 },
    Stale { phase: u32 },
}

/// Decides on a packet that belongs to no flow; allowed, it begins one.
fn begin<T: Tables>(tables: &T, packet: &Packet, profile: &Profile, now_ns: u64) -> Verdict {
    match decide(tables, profile, &packet.tuple, now_ns) {
        Some(value) if value.verdict == ALLOW => {
            let phase = match packet.kind {
                Kind::Closing => FLOW_CLOSING,
                // In the middle of a connection whose flow was lost: the other end has long answered.
                Kind::Plain if packet.tuple.protocol == TCP => FLOW_ANSWERED,
                _ => FLOW_NEW,
            };
            tables.insert_flow(&packet.tuple, &flow_of(profile, &value, phase, now_ns));
            Verdict::Pass { peer: profile.peer, rule: value.rule }
        }
        refused => refuse(profile, refused),
    }
}

const fn flow_of(profile: &Profile, value: &PortsValue, phase: u32, now_ns: u64) -> FlowValue {
    FlowValue {
        peer: profile.peer,
        shared: profile.shared,
        own: profile.own,
        epoch: profile.epoch,
        rule: value.rule,
        phase,
        seen_ns: now_ns,
        not_after_ns: value.not_after_ns,
    }
}

const fn refuse(profile: &Profile, refused: Option<PortsValue>) -> Verdict {
    match refused {
        Some(value) => Verdict::Drop { peer: Some(profile.peer), reason: Reason::RuleDeny, rule: value.rule },
        None => Verdict::Drop { peer: Some(profile.peer), reason: Reason::NoRule, rule: 0 },
    }
}

const fn no_flow(profile: &Profile) -> Verdict {
    Verdict::Drop { peer: Some(profile.peer), reason: Reason::NoFlow, rule: 0 }
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
    now_ns.saturating_sub(flow.seen_ns) >= idle_limit_ns(protocol, flow.phase)
}

/// Notes what the packet says of the conversation. Fields are written only on change: a written cache line
/// travels between cores.
fn advance(flow: &mut FlowValue, kind: Kind, speaker: Speaker, now_ns: u64) {
    let phase = match (kind, speaker) {
        // Errors are no sign of life of either end.
        (Kind::Error, _) => return,
        (Kind::Closing, _) => FLOW_CLOSING,
        (Kind::Opening, Speaker::Initiator) => FLOW_NEW,
        (_, Speaker::Responder) if flow.phase == FLOW_NEW => FLOW_ANSWERED,
        _ => flow.phase,
    };
    if flow.phase != phase {
        flow.phase = phase;
    }
    if now_ns.saturating_sub(flow.seen_ns) >= SECOND_NS {
        flow.seen_ns = now_ns;
    }
}
