//! Entries of sets and classes as the maps have them.

use nexa_abi::layout::{DestKey, PortsKey, PortsValue};

use super::clocks::Clocks;
use super::{Dest, Ports};
use crate::lower::{DestEntry, PortsEntry};
use crate::slots::Slots;

/// A prefix of a set, under its number.
pub fn dest(entry: DestEntry, set: u32) -> Dest {
    (entry.prefix_bits, DestKey::new(set, entry.family, entry.address), entry.class)
}

/// A prefix of a class, under its number.
pub fn ports(entry: PortsEntry, class: u32, slots: &Slots, clocks: Clocks) -> Ports {
    let PortsEntry { prefix_bits, verdict, rule, not_after, .. } = entry;
    let not_after_ns = not_after.map_or(u64::MAX, |at| clocks.boot_ns_at(at));
    let value = PortsValue::new(verdict, slots.of(rule), rule, not_after_ns);
    (prefix_bits, ports_key(entry, class), value)
}

/// The key of that.
pub const fn ports_key(entry: PortsEntry, class: u32) -> PortsKey {
    PortsKey { class: class.to_be_bytes(), protocol: entry.protocol, port: entry.port.to_be_bytes() }
}
