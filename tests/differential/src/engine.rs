//! The engine on the host, over the maps on the host.

use std::cell::Cell;
use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::engine::{self, NOBODY, Now, Verdict};
use nexa_abi::layout::Direction;
use nexa_abi::packet::{self, Kind, Part, Plain};
use nexa_abi::reason::Reason;
use nexa_gateway_core::install::{Found, Moment};
use nexa_gateway_core::{Installer, Lowered};
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

use crate::host::HostTables;
use crate::oracle::Expected;
use crate::packets::Packet;
use crate::policy;
use crate::trial::Answers;

/// The boot clock at [`policy::at`], nanoseconds.
const NOW_NS: u64 = 1_000_000_000_000;

/// Maps, and who fills them.
#[derive(Default)]
pub struct Engine {
    /// The maps.
    pub tables: HostTables,
    lowered: Lowered,
    /// How many policies came into force in the bank that was live.
    pub patched: usize,
    /// How many packets were of flows that were live a moment ago.
    pub recalled: Cell<u64>,
    installer: Option<Installer>,
    devices: HashMap<u32, DeviceId>,
}

/// The moment at which every policy is put in force, for longer than any of its rules is looked at.
pub fn moment() -> Moment {
    let wall = policy::at();
    Moment { boot_ns: NOW_NS, wall, lease_until: wall + TimeDelta::days(30) }
}

impl Engine {
    /// Over maps that a daemon before left.
    pub fn adopting(tables: HostTables) -> Self {
        Self { tables, ..Self::default() }
    }

    /// What happens to a packet at [`policy::at`].
    ///
    /// # Panics
    /// When nobody's packet goes on.
    pub fn answer(&self, direction: Direction, bytes: &[u8]) -> Expected {
        self.answer_at(policy::at(), direction, bytes)
    }

    /// What happens to a packet at an instant after [`policy::at`], if the policy is not put in force anew meanwhile.
    ///
    /// # Panics
    /// When nobody's packet goes on.
    pub fn answer_at(&self, at: DateTime<Utc>, direction: Direction, bytes: &[u8]) -> Expected {
        let passed_ns = (at - policy::at()).num_nanoseconds().and_then(|ns| u64::try_from(ns).ok());
        let now = Now::at(&self.tables, NOW_NS + passed_ns.expect("within years"));
        let plain = packet::read_plain(bytes);
        let recalled = plain.and_then(|plain| engine::recall(&self.tables, &plain, direction, &now));
        let verdict = match recalled {
            Some(recalled) => {
                self.recalled.set(self.recalled.get() + 1);
                recalled
            }
            None => match read(bytes, plain.as_ref()) {
                Ok(mut packet) => engine::judge(&self.tables, &mut packet, direction, &now),
                Err(reason) => Verdict::drop(NOBODY, reason),
            },
        };
        let device = self.devices.get(&verdict.peer).copied();
        match verdict.dropped {
            None => Expected::Pass {
                device: device.expect("a packet that goes on is somebody's"),
                rule: verdict.rule,
            },
            Some(reason) => Expected::Drop { device, reason, rule: verdict.rule },
        }
    }
}

/// As a program reads a packet: over what it has read before.
fn read(bytes: &[u8], plain: Option<&Plain>) -> Result<packet::Packet, Reason> {
    let Some(plain) = plain else { return packet::parse(bytes) };
    let mut packet = packet::Packet {
        kind: Kind::Error,
        part: Part::Later,
        fragment_offset: 7,
        fragment_id: 7,
        ..Default::default()
    };
    packet.become_plain(plain);
    Ok(packet)
}

impl Answers for Engine {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn apply(&mut self, snapshot: &Snapshot) {
        self.lowered.set(snapshot, &[], policy::at()).expect("only policies that can be lowered are tried");
        let plan = match &mut self.installer {
            Some(installer) => installer.plan(&self.lowered, moment()),
            None => {
                let found = if self.tables.is_empty() { Found::default() } else { self.tables.find() };
                let (installer, plan) = Installer::adopt(&found, &self.lowered, moment());
                self.installer = Some(installer);
                plan
            }
        };
        self.patched += usize::from(plan.profiles.is_empty());
        self.tables.carry_out(&plan);
        self.devices = self.installer.iter().flat_map(Installer::devices).collect();
    }

    fn check(&mut self, direction: Direction, packet: &Packet, expected: Expected) -> Result<(), String> {
        let actual = self.answer(direction, &packet.bytes);
        if actual == expected { Ok(()) } else { Err(format!("it is {actual:?}")) }
    }

    fn check_sums(&mut self) -> Result<(), String> {
        Ok(())
    }
}
