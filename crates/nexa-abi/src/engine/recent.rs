//! Flows that this CPU has seen live a moment ago: one line of memory says what FLOWS and PROFILES say in six.
//! Each flow has one place, which two flows share; a third takes one of theirs.
//!
//! A line is believed under the generation that it was noted in, so every change of policy ends all of them by the store
//! that puts it in force; and up to the next moment at which the flow itself has to be looked at: when it is to be noted
//! as heard, when its verdict ends or the lease does. It speaks of packets that leave the flow's phase as it is, and of no
//! others.

use super::{Now, Tables, Verdict};
use crate::layout::{Direction, FLOW_NEW, FlowKey, FlowValue, MAX_PEERS, Profile, RULE_SLOTS, State};
use crate::packet::Plain;

/// Two flows of one place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent([Line; 2]);

/// A flow that was live when it was noted. As long as a line of the processor's cache.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    key: FlowKey,
    /// The whole state, so that a word of another time never looks like one of now.
    generation: u64,
    /// Boot clock, nanoseconds, twice; and one more where the responder has spoken.
    until_and_answered: u64,
    /// Number of the rule that allowed it.
    rule: u32,
    /// The slot of the rule, and below that the peer index of who began.
    slot_and_peer: u32,
}

const PEER_BITS: u32 = MAX_PEERS.trailing_zeros();
const _: () = assert!(size_of::<Line>() == 64 && align_of::<Recent>() == 64);
const _: () = assert!(MAX_PEERS.is_power_of_two() && RULE_SLOTS <= 1 << (u32::BITS - PEER_BITS));

/// How long a flow may be heard without being noted as heard.
pub(super) const UNSEEN_NS: u64 = 1_000_000_000;

/// Decides on a plain packet as [`super::judge`] would, if it is of a flow that was live a moment ago. Nothing where it is
/// not, and is to be judged.
#[inline(always)]
pub fn recall<T: Tables>(tables: &T, plain: &Plain, direction: Direction, now: &Now) -> Option<Verdict> {
    let key = match direction {
        Direction::Ingress => plain.tuple,
        Direction::Egress => plain.tuple.reversed(),
    };
    tables.recent(place(&key), |recent| recent.verdict(&key, direction, now))?
}

/// Where a flow is noted: a number of which any bits are as good as others.
#[inline(always)]
pub(super) fn place(key: &FlowKey) -> u64 {
    // Odd, without a pattern: a multiplication spreads each bit over those above.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let [a, b, c, d, e] = *key.words();
    let addresses = (a ^ b.rotate_left(29)).wrapping_mul(SPREAD) ^ c ^ d.rotate_left(31);
    let all = (addresses ^ addresses >> 32).wrapping_mul(SPREAD) ^ e;
    let spread = (all ^ all >> 29).wrapping_mul(SPREAD);
    spread ^ spread >> 32
}

impl Recent {
    /// The verdict on a plain packet, where its flow is noted here and nothing about that has to be looked at.
    #[inline(always)]
    fn verdict(&self, key: &FlowKey, direction: Direction, now: &Now) -> Option<Verdict> {
        let [first, second] = &self.0;
        match is_same(&first.key, key) {
            true => first.verdict(direction, now),
            false if is_same(&second.key, key) => second.verdict(direction, now),
            false => None,
        }
    }

    /// Notes a flow that is live. `profile` is that of who began it.
    #[inline(always)]
    pub(super) fn note(&mut self, key: &FlowKey, flow: &FlowValue, profile: &Profile, now: &Now) {
        let [first, second] = &mut self.0;
        // In place of itself, or else of what is of no use any more.
        let line = if is_same(&first.key, key) || (!is_same(&second.key, key) && !first.holds(now)) {
            first
        } else if is_same(&second.key, key) || !second.holds(now) || flow.seen_ns & TURN_NS == 0 {
            second
        } else {
            first
        };
        line.note(key, flow, profile, now.state);
    }
}

/// A bit of the time that is as often set as not: by it flows of a full place take turns.
const TURN_NS: u64 = 1 << 24;

impl Line {
    #[inline(always)]
    const fn holds(&self, now: &Now) -> bool {
        self.generation == now.state.generation() && now.ns < self.until_and_answered >> 1
    }

    #[inline(always)]
    fn verdict(&self, direction: Direction, now: &Now) -> Option<Verdict> {
        // The responder's first word changes the phase.
        let speaks = matches!(direction, Direction::Ingress) || self.until_and_answered & 1 == 1;
        if !self.holds(now) || !speaks {
            return None;
        }
        let (slot, peer) = (self.slot_and_peer >> PEER_BITS, self.slot_and_peer & (MAX_PEERS - 1));
        Some(Verdict { dropped: None, peer, rule: self.rule, slot, began: false })
    }

    #[inline(always)]
    fn note(&mut self, key: &FlowKey, flow: &FlowValue, profile: &Profile, state: State) {
        let unseen_until = flow.seen_ns.saturating_add(UNSEEN_NS);
        let until = unseen_until.min(flow.not_after_ns).min(profile.lease_until_ns);
        self.key = *key;
        self.generation = state.generation();
        self.until_and_answered = until << 1 | (flow.phase() != FLOW_NEW) as u64;
        self.rule = flow.rule;
        self.slot_and_peer = flow.slot() << PEER_BITS | flow.peer & (MAX_PEERS - 1);
    }
}

/// Whether two keys are equal. By words, where LLVM would call a function that compares bytes.
#[inline(always)]
fn is_same(one: &FlowKey, other: &FlowKey) -> bool {
    let ([a, b, c, d, e], [v, w, x, y, z]) = (*one.words(), *other.words());
    (a ^ v) | (b ^ w) | (c ^ x) | (d ^ y) | (e ^ z) == 0
}
