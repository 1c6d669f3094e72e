//! What the programs counted, read by system calls: by whom nobody is waited for, not even whoever writes a policy.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray};
use nexa_abi::layout::{self, DEFAULT_DENY_SLOT, Direction, IMPLICIT_SLOT, RuleCounters, drop_index, map};
use nexa_abi::reason::Reason;
use nexa_types::{DeviceId, Generation, RuleId};

use super::reader::again;

/// Counters of everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// The generation in force; 0 before the first policy.
    pub generation: Generation,
    /// One entry per device of the policy.
    pub peers: Vec<PeerCounters>,
    /// What every gateway has first, then one entry per rule of the policy.
    pub rules: Vec<(RuleName, RuleCounters)>,
    /// Packets dropped on wg0, whosever they were.
    pub drops: Vec<Drops>,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleName {
    /// Nobody, so the packet was dropped.
    DefaultDeny,
    /// What every device may reach without a rule.
    Implicit,
    /// A rule.
    Rule(RuleId),
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultDeny => f.write_str("default_deny"),
            Self::Implicit => f.write_str("implicit"),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

/// Counters of a device. Packets are counted as the segments that they are on the wire.
#[derive(Clone, Debug)]
pub struct PeerCounters {
    /// The device.
    pub device: DeviceId,
    /// From the device, dropped ones too.
    pub received_packets: u64,
    /// From the device, dropped ones too; bytes of IP.
    pub received_bytes: u64,
    /// Admitted to the device.
    pub sent_packets: u64,
    /// Admitted to the device; bytes of IP.
    pub sent_bytes: u64,
    /// Dropped from or to the device, by reason.
    pub drops: Vec<(&'static str, u64)>,
}

/// Packets dropped for a reason in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops {
    /// Why.
    pub reason: &'static str,
    /// `ingress` is from a device, `egress` to one.
    pub direction: &'static str,
    /// How many.
    pub packets: u64,
}

/// Whose counters are where, at one moment. What is read a little later is still theirs: places rest before they are
/// given again.
pub struct Census {
    generation: Generation,
    devices: Vec<(u32, DeviceId)>,
    rules: Vec<(u32, RuleName)>,
    maps: Arc<CounterMaps>,
}

impl Census {
    pub(super) const fn new(
        generation: Generation,
        devices: Vec<(u32, DeviceId)>,
        rules: Vec<(u32, RuleName)>,
        maps: Arc<CounterMaps>,
    ) -> Self {
        Self { generation, devices, rules, maps }
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(self) -> anyhow::Result<Counters> {
        let mut peers = Vec::with_capacity(self.devices.len());
        for (index, device) in self.devices {
            let counted = self.maps.peer(index)?;
            peers.push(PeerCounters {
                device,
                received_packets: counted.received_packets,
                received_bytes: counted.received_bytes,
                sent_packets: counted.sent_packets,
                sent_bytes: counted.sent_bytes,
                drops: Reason::ALL
                    .iter()
                    .map(|reason| (reason.as_str(), counted.drops[*reason as usize]))
                    .filter(|(_, packets)| *packets > 0)
                    .collect(),
            });
        }
        peers.sort_by_key(|peer| peer.device);
        let rules = self.rules.into_iter().map(|(slot, name)| Ok((name, self.maps.rule(slot)?)));
        let rules = rules.collect::<anyhow::Result<_>>()?;
        Ok(Counters { generation: self.generation, peers, rules, drops: self.maps.drops()? })
    }
}

/// The maps that counters are in.
pub(super) struct CounterMaps {
    peers: PerCpuArray<MapData, layout::PeerCounters>,
    rules: PerCpuArray<MapData, RuleCounters>,
    drops: PerCpuArray<MapData, u64>,
}

impl CounterMaps {
    /// Opens the maps of a loaded object once more.
    pub(super) fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let again = |name| anyhow::Ok(Map::PerCpuArray(again(ebpf, name)?));
        Ok(Self {
            peers: again(map::PEER_COUNTERS)?.try_into()?,
            rules: again(map::RULE_COUNTERS)?.try_into()?,
            drops: again(map::DROPS)?.try_into()?,
        })
    }

    /// A peer's counters, of all CPUs together.
    fn peer(&self, index: u32) -> anyhow::Result<layout::PeerCounters> {
        let mut sum = layout::PeerCounters::default();
        for counted in self.peers.get(&index, 0).context("cannot read PEER_COUNTERS")?.iter() {
            sum.received_packets += counted.received_packets;
            sum.received_bytes += counted.received_bytes;
            sum.sent_packets += counted.sent_packets;
            sum.sent_bytes += counted.sent_bytes;
            for (sum, counted) in sum.drops.iter_mut().zip(counted.drops) {
                *sum += counted;
            }
        }
        Ok(sum)
    }

    /// A rule's counters, of all CPUs together.
    fn rule(&self, slot: u32) -> anyhow::Result<RuleCounters> {
        let mut sum = RuleCounters::default();
        for counted in self.rules.get(&slot, 0).context("cannot read RULE_COUNTERS")?.iter() {
            sum.allowed_packets += counted.allowed_packets;
            sum.allowed_bytes += counted.allowed_bytes;
            sum.denied_packets += counted.denied_packets;
            sum.denied_bytes += counted.denied_bytes;
        }
        Ok(sum)
    }

    /// Drops by reason and direction, of all CPUs together.
    fn drops(&self) -> anyhow::Result<Vec<Drops>> {
        let mut drops = Vec::new();
        for reason in Reason::ALL {
            for (direction, name) in [(Direction::Ingress, "ingress"), (Direction::Egress, "egress")] {
                let counted =
                    self.drops.get(&drop_index(*reason, direction), 0).context("cannot read DROPS")?;
                drops.push(Drops { reason: reason.as_str(), direction: name, packets: counted.iter().sum() });
            }
        }
        Ok(drops)
    }
}

/// Names by slot: what every gateway has first.
pub(super) fn rule_names(rules: impl Iterator<Item = (u32, RuleId)>) -> Vec<(u32, RuleName)> {
    [(DEFAULT_DENY_SLOT, RuleName::DefaultDeny), (IMPLICIT_SLOT, RuleName::Implicit)]
        .into_iter()
        .chain(rules.map(|(slot, rule)| (slot, RuleName::Rule(rule))))
        .collect()
}
