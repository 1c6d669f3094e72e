//! What the counters must say after packets of which it is known what must happen to them.

use std::collections::{BTreeMap, HashMap};

use nexa_abi::layout::Direction;
use nexa_abi::reason::Reason;
use nexa_differential::oracle::Expected;
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

/// Packets and bytes by what counts them.
#[derive(Default)]
pub struct Tally {
    counted: HashMap<Counter, Sum>,
    devices: Vec<DeviceId>,
    rules: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counter {
    Received(DeviceId),
    Sent(DeviceId),
    PeerDrop(DeviceId, Reason),
    Drop(Direction, Reason),
    Allowed(u32),
    Denied(u32),
    DefaultDeny,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    packets: u64,
    bytes: u64,
}

impl Tally {
    /// Another policy. What was away, device or rule, comes back with counters at zero; what is away is not reported.
    pub fn change(&mut self, snapshot: &Snapshot) {
        let devices: Vec<_> = snapshot.peers.iter().map(|peer| peer.device).collect();
        let rules: Vec<_> = snapshot.rules.iter().map(|rule| rule.id.0).collect();
        let stays_device = |device: &DeviceId| self.devices.contains(device) && devices.contains(device);
        let stays_rule = |rule: &u32| *rule == 0 || self.rules.contains(rule) && rules.contains(rule);
        self.counted.retain(|counter, _| match counter {
            Counter::Received(device) | Counter::Sent(device) | Counter::PeerDrop(device, _) => {
                stays_device(device)
            }
            Counter::Allowed(rule) | Counter::Denied(rule) => stays_rule(rule),
            Counter::Drop(..) | Counter::DefaultDeny => true,
        });
        self.devices = devices;
        self.rules = rules;
    }

    /// Counts a packet of which this is expected.
    pub fn count(&mut self, direction: Direction, expected: Expected, bytes: u64) {
        let device = match expected {
            Expected::Pass { device, rule } => {
                self.add(Counter::Allowed(rule), bytes);
                if direction == Direction::Egress {
                    self.add(Counter::Sent(device), bytes);
                }
                Some(device)
            }
            Expected::Drop { device, reason, rule } => {
                match reason {
                    Reason::NoRule | Reason::Excluded => self.add(Counter::DefaultDeny, bytes),
                    Reason::RuleDeny => self.add(Counter::Denied(rule), bytes),
                    _ => {}
                }
                self.add(Counter::Drop(direction, reason), bytes);
                if let Some(device) = device {
                    self.add(Counter::PeerDrop(device, reason), bytes);
                }
                device
            }
        };
        if let Some(device) = device
            && direction == Direction::Ingress
        {
            self.add(Counter::Received(device), bytes);
        }
    }

    fn add(&mut self, counter: Counter, bytes: u64) {
        let sum = self.counted.entry(counter).or_default();
        sum.packets += 1;
        sum.bytes += bytes;
    }

    /// As [`crate::flat`] tells what was counted.
    pub fn flat(&self) -> BTreeMap<String, u64> {
        let mut flat = BTreeMap::new();
        for (counter, sum) in &self.counted {
            let both = match counter {
                Counter::Received(device) => format!("{device} received"),
                Counter::Sent(device) => format!("{device} sent"),
                Counter::Allowed(0) => "rule implicit allowed".to_owned(),
                Counter::Allowed(rule) => format!("rule {rule} allowed"),
                Counter::Denied(rule) => format!("rule {rule} denied"),
                Counter::DefaultDeny => "rule default_deny denied".to_owned(),
                Counter::PeerDrop(device, reason) => {
                    flat.insert(format!("{device} drops {}", reason.as_str()), sum.packets);
                    continue;
                }
                Counter::Drop(direction, reason) => {
                    let direction = if *direction == Direction::Ingress { "ingress" } else { "egress" };
                    flat.insert(format!("{direction} {}", reason.as_str()), sum.packets);
                    continue;
                }
            };
            flat.insert(format!("{both} packets"), sum.packets);
            flat.insert(format!("{both} bytes"), sum.bytes);
        }
        flat
    }
}
