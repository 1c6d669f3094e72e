//! What the control plane is told of what the programs counted, and of their maps.

use std::collections::HashMap;
use std::hash::Hash;

use nexa_abi::layout;
use nexa_types::{DeviceId, RuleId};
use nexa_wire::drops::Direction;
use nexa_wire::gateway::{Counters, DropCounter, Health, MAX_COUNTERS, PeerCounters, RuleCounters};

use crate::dataplane::{self, RuleName};

/// What was told last.
#[derive(Debug, Default)]
pub struct CounterReports {
    peers: Told<DeviceId, PeerCounters>,
    rules: Told<Option<RuleId>, RuleCounters>,
    drops: Vec<DropCounter>,
    health: Option<Health>,
}

impl CounterReports {
    /// Forgets what was told: a new connection may lead to another server.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is not as it was told last, if anything is not; at most so much as fits into a frame, and the rest the next
    /// time.
    pub fn changed(&mut self, counted: &dataplane::Counters) -> Option<Counters> {
        let peers = counted.peers.iter().map(peer).collect();
        let rules = counted.rules.iter().map(|(name, counters)| rule(*name, counters)).collect();
        let drops: Vec<_> = counted.drops.iter().map(drops).collect();
        let changed = Counters {
            peers: self.peers.changed(
                peers,
                |peer| peer.device,
                |peer| peer.received_packets + peer.sent_packets == 0,
            ),
            rules: self.rules.changed(
                rules,
                |rule| rule.rule,
                |rule| rule.allowed_packets + rule.denied_packets == 0,
            ),
            drops: if drops == self.drops { Vec::new() } else { drops.clone() },
        };
        self.drops = drops;
        (changed != Counters::default()).then_some(changed)
    }

    /// The health, if it is not as it was told last.
    pub fn health(&mut self, health: Health) -> Option<Health> {
        if self.health.as_ref() == Some(&health) {
            return None;
        }
        self.health = Some(health.clone());
        Some(health)
    }
}

/// What was told last of each of many.
#[derive(Debug)]
struct Told<K, V> {
    last: HashMap<K, V>,
    /// Where a frame was full: the next one begins there, so that all have their turn.
    position: usize,
}

impl<K, V> Default for Told<K, V> {
    fn default() -> Self {
        Self { last: HashMap::new(), position: 0 }
    }
}

impl<K: Eq + Hash, V: Clone + PartialEq> Told<K, V> {
    fn changed(&mut self, now: Vec<V>, key: impl Fn(&V) -> K, is_untouched: impl Fn(&V) -> bool) -> Vec<V> {
        // What is gone is forgotten.
        if self.last.len() > now.len() {
            let there: std::collections::HashSet<K> = now.iter().map(&key).collect();
            self.last.retain(|known, _| there.contains(known));
        }
        let mut changed = Vec::new();
        let begin = self.position.min(now.len());
        self.position = 0;
        let (earlier, later) = now.split_at(begin);
        for (steps, value) in later.iter().chain(earlier).enumerate() {
            let told = self.last.get(&key(value));
            if told == Some(value) || (told.is_none() && is_untouched(value)) {
                continue;
            }
            if changed.len() == MAX_COUNTERS {
                self.position = (begin + steps) % now.len();
                break;
            }
            self.last.insert(key(value), value.clone());
            changed.push(value.clone());
        }
        changed
    }
}

fn peer(counted: &dataplane::PeerCounters) -> PeerCounters {
    PeerCounters {
        device: counted.device,
        received_packets: counted.received_packets,
        received_bytes: counted.received_bytes,
        sent_packets: counted.sent_packets,
        sent_bytes: counted.sent_bytes,
        drops: counted.drops.iter().map(|(reason, packets)| ((*reason).to_owned(), *packets)).collect(),
    }
}

fn rule(name: RuleName, counted: &layout::RuleCounters) -> RuleCounters {
    RuleCounters {
        rule: match name {
            RuleName::DefaultDeny => None,
            RuleName::Implicit => Some(RuleId(0)),
            RuleName::Rule(rule) => Some(rule),
        },
        allowed_packets: counted.allowed_packets,
        allowed_bytes: counted.allowed_bytes,
        denied_packets: counted.denied_packets,
        denied_bytes: counted.denied_bytes,
    }
}

fn drops(counted: &dataplane::Drops) -> DropCounter {
    let direction =
        if counted.direction == Direction::Egress.as_str() { Direction::Egress } else { Direction::Ingress };
    DropCounter { reason: counted.reason.to_owned(), direction, packets: counted.packets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rules: impl IntoIterator<Item = (u32, u64)>) -> dataplane::Counters {
        let counters = |(rule, allowed_packets)| {
            let counters = layout::RuleCounters { allowed_packets, ..layout::RuleCounters::default() };
            (RuleName::Rule(RuleId(rule)), counters)
        };
        dataplane::Counters {
            rules: rules.into_iter().map(counters).collect(),
            ..dataplane::Counters::default()
        }
    }

    fn told(report: Option<Counters>) -> Vec<u32> {
        report.unwrap_or_default().rules.iter().map(|rule| rule.rule.unwrap().0).collect()
    }

    #[test]
    fn only_what_changed_is_told_and_all_of_it_in_turn() {
        let mut reports = CounterReports::default();
        assert_eq!(told(reports.changed(&counted([(1, 5), (2, 0)]))), [1], "what never counted is not told");
        assert_eq!(reports.changed(&counted([(1, 5), (2, 0)])), None);
        // Less is a change, too: it began anew.
        assert_eq!(told(reports.changed(&counted([(1, 4), (2, 1)]))), [1, 2]);
        reports.forget();
        assert_eq!(told(reports.changed(&counted([(1, 4), (2, 1)]))), [1, 2]);

        let most = u32::try_from(MAX_COUNTERS).unwrap();
        let all = |packets: u64| counted((1..=2 * most + 3).map(move |rule| (rule, packets)));
        let first = told(reports.changed(&all(10)));
        let second = told(reports.changed(&all(11)));
        let third = told(reports.changed(&all(12)));
        assert_eq!([first.len(), second.len(), third.len()], [MAX_COUNTERS; 3]);
        assert_eq!((first[0], second[0], third[0], third[3]), (1, most + 1, 2 * most + 1, 1));
    }

    #[test]
    fn drops_are_told_whole_when_one_of_them_changed() {
        let mut reports = CounterReports::default();
        let drops = |packets| dataplane::Counters {
            drops: vec![
                dataplane::Drops { reason: "no_rule", direction: "ingress", packets },
                dataplane::Drops { reason: "no_flow", direction: "egress", packets: 0 },
            ],
            ..dataplane::Counters::default()
        };
        let told = reports.changed(&drops(1)).unwrap().drops;
        assert_eq!((told.len(), told[1].direction, told[0].packets), (2, Direction::Egress, 1));
        assert_eq!(reports.changed(&drops(1)), None);
        assert_eq!(reports.changed(&drops(2)).unwrap().drops.len(), 2);
    }
}
