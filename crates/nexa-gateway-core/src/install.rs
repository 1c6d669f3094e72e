//! Which map entries to write and to delete, and in which order, so that every packet sees one generation.
//!
//! Sets and classes are content-addressed: what is in the maps already stays, under the number it has. New ones get
//! numbers that no program can still be reading. Profiles exist in two banks; a generation writes the idle one and
//! becomes live by the one store that names it. What the previous generation alone used is deleted after that store
//! and after every program that may have begun before it has ended.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use nexa_abi::layout::{MAX_PEERS, PeerKey, PeerValue, Profile, State};
use nexa_policy::compile::{ClassId, CompiledPeer, SetId, Touched};
use nexa_types::{DeviceId, RuleId};

use self::clocks::Clocks;
use self::entries::{dest, ports, ports_key};
use self::numbers::Numbers;
use crate::content::Content;
use crate::lower::{DestEntry, Edition, Lowered, PortsEntry};
use crate::room::Room;
use crate::slots::Slots;

mod adopt;
mod clocks;
mod entries;
mod numbers;
mod patch;
mod peers;
mod plan;

pub use self::adopt::Found;
pub use self::clocks::{CLOCK_STEP, Moment};
pub use self::plan::{Dest, Patch, Plan, Ports};

/// What is in the maps.
#[derive(Clone, Debug, Default)]
pub struct Installer {
    generation: u64,
    epoch: u32,
    /// What is installed: what follows it is planned by what that touches.
    edition: Edition,
    /// Sets whose entries hold the numbers of their classes in the maps.
    sets: Numbers<DestEntry>,
    classes: Numbers<PortsEntry>,
    /// The set of what no resource covers.
    excluded: u32,
    slots: Slots,
    /// By which deadlines of entries were computed: an instant is one deadline for all of them.
    clocks: Clocks,
    peers: BTreeMap<DeviceId, Installed>,
    /// Peers by index; nothing where nobody has it.
    profiles: Vec<Option<Profiled>>,
    /// Indexes that nobody has, longest free first.
    free: VecDeque<u32>,
    /// Of each bank of PROFILES, how many positions may not be zero.
    written: [u32; 2],
    /// The live bank's profiles, in order of their positions; a position that is not here is zero.
    live: Vec<(u32, Profile)>,
    /// Whether that is known. Of maps that an earlier daemon filled it is not, before the first swap.
    knows_live: bool,
}

#[derive(Clone, Copy, Debug)]
struct Installed {
    index: u32,
    addresses: [PeerKey; 2],
    /// The generation since which it has them under this index: [`Profile::epoch`].
    epoch: u32,
}

/// What a profile is made of.
#[derive(Clone, Copy, Debug)]
struct Profiled {
    epoch: u32,
    sets: CompiledPeer,
    expires_at: Option<DateTime<Utc>>,
}

/// What is to be looked at.
enum Scope {
    /// What was touched.
    Touched(Touched),
    /// All that there is, and what is installed and is not there.
    Everything(Touched),
}

impl Installer {
    /// Plans the swap from what is installed to `lowered`. The caller carries out the plan whole; after a failure
    /// it starts over with [`Self::adopt`].
    ///
    /// Of a policy that follows the one installed it costs what that touches; and a profile for each peer.
    pub fn plan(&mut self, lowered: &Lowered, moment: Moment) -> Plan {
        let mut plan = Plan { state: State::new(self.generation + 1), ..Plan::default() };
        let now = Clocks { boot_ns: moment.boot_ns, wall: moment.wall };
        let scope = if self.clocks.step_to(now) > CLOCK_STEP {
            self.clocks = now;
            // Classes with deadlines are no longer what they were: they are written anew under other numbers, which
            // ends the flows that go by them, too.
            self.classes.forget(|class| class.iter().any(|entry| entry.not_after.is_some()));
            None
        } else {
            lowered.touched_since(&self.edition).map(Scope::Touched)
        };
        let scope = scope.unwrap_or_else(|| Scope::Everything(lowered.everything()));
        self.plan_rules(lowered, &scope, &mut plan);
        self.plan_classes(lowered, &scope, &mut plan);
        self.plan_sets(lowered, &scope, &mut plan);
        self.plan_excluded(lowered, &mut plan);
        self.plan_peers(lowered, &scope, &mut plan);
        let before = (std::mem::take(&mut self.live), self.written);
        // By the clocks of before, so that a deadline stays what it was.
        let Clocks { boot_ns, wall } = self.clocks;
        self.plan_profiles(Moment { boot_ns, wall, ..moment }, &mut plan);
        self.patch_instead(before, &mut plan);
        self.edition = lowered.edition();
        self.generation = plan.state.generation();
        plan
    }

    /// Leaves the bank that is live, and patches it, where that comes to the same as the planned swap. `before` is what was
    /// in both banks.
    fn patch_instead(&mut self, (live, written): (Vec<(u32, Profile)>, [u32; 2]), plan: &mut Plan) {
        let knew_live = std::mem::replace(&mut self.knows_live, true);
        // Addresses become known before the flip, and would be so of a device that programs already see.
        if !knew_live || !plan.insert_peers.is_empty() {
            return;
        }
        let Some(patch) = patch::between(&live, &self.live) else { return };
        plan.state = State::new(self.generation + 2);
        plan.profiles.clear();
        let first = plan.state.bank() * MAX_PEERS;
        plan.patches.extend(patch.map(|(index, patch)| (first + index, patch)));
        for (position, _) in &mut self.live {
            *position = first + *position % MAX_PEERS;
        }
        self.written = written;
    }

    /// The live generation.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What is in the maps, if nobody but this gateway wrote to them.
    pub fn content(&self) -> Content {
        let dest = self.sets.iter().flat_map(|(set, number)| {
            set.iter().map(move |entry| dest(*entry, number)).map(|(bits, key, class)| ((bits, key), class))
        });
        let ports = self.classes.iter().flat_map(|(class, number)| {
            class
                .iter()
                .map(move |entry| ports(*entry, number, &self.slots, self.clocks))
                .map(|(bits, key, value)| ((bits, key), value))
        });
        Content {
            state: State::new(self.generation),
            excluded: self.excluded,
            peers: self.addresses().collect(),
            profiles: self.live.iter().copied().collect(),
            dest: dest.collect(),
            ports: ports.collect(),
        }
    }

    /// Entries that the live generation has.
    pub fn room(&self) -> Room {
        Room { peers: self.peers.len() * 2, dest: self.sets.entries(), ports: self.classes.entries() }
    }

    /// Addresses, each with the index of the device that has it.
    pub fn addresses(&self) -> impl Iterator<Item = (PeerKey, PeerValue)> + '_ {
        let of = |installed: &Installed| {
            installed.addresses.map(|address| (address, PeerValue { peer: installed.index }))
        };
        self.peers.values().flat_map(of)
    }

    /// Rules by the slot that counters know them under, without those that every gateway has.
    pub fn rules(&self) -> impl Iterator<Item = (u32, RuleId)> + '_ {
        self.slots.iter().map(|(rule, slot)| (slot, RuleId(rule)))
    }

    /// Devices by the index that counters and flows know them under.
    pub fn devices(&self) -> impl Iterator<Item = (u32, DeviceId)> + '_ {
        self.peers.iter().map(|(device, installed)| (installed.index, *device))
    }

    fn plan_rules(&mut self, lowered: &Lowered, scope: &Scope, plan: &mut Plan) {
        let (touched, installed) = match scope {
            Scope::Touched(touched) => (touched, Vec::new()),
            Scope::Everything(all) => (all, self.slots.iter().map(|(rule, _)| RuleId(rule)).collect()),
        };
        let (there, gone): (Vec<RuleId>, Vec<RuleId>) =
            touched.rules.iter().copied().chain(installed).partition(|rule| lowered.has_rule(*rule));
        plan.reset_rules = self.slots.change(&there, &gone);
    }

    fn plan_classes(&mut self, lowered: &Lowered, scope: &Scope, plan: &mut Plan) {
        let content = |id: &ClassId| (id.0, lowered.class(*id));
        let renumbered = match scope {
            Scope::Touched(touched) => {
                self.classes.change(touched.classes.union(&touched.retimed).map(content))
            }
            Scope::Everything(all) => self.classes.replace(all.classes.iter().map(content)),
        };
        for (class, number) in renumbered.added {
            plan.insert_ports
                .extend(class.iter().map(|entry| ports(*entry, number, &self.slots, self.clocks)));
        }
        for (class, number) in renumbered.gone {
            plan.delete_ports
                .extend(class.iter().map(|entry| (entry.prefix_bits, ports_key(*entry, number))));
        }
    }

    fn plan_sets(&mut self, lowered: &Lowered, scope: &Scope, plan: &mut Plan) {
        let classes = &self.classes;
        let content = |id: SetId| (id.0, lowered.set_entries(id, |class| classes.of(class.0)));
        let renumbered = match scope {
            Scope::Touched(touched) => {
                let mut sets = touched.sets.clone();
                if !touched.retimed.is_empty() {
                    sets.extend(lowered.sets_with(&touched.retimed));
                }
                self.sets.change(sets.into_iter().map(content))
            }
            Scope::Everything(all) => self.sets.replace(all.sets.iter().copied().map(content)),
        };
        plan.renumber_sets(renumbered);
    }

    fn plan_excluded(&mut self, lowered: &Lowered, plan: &mut Plan) {
        let (number, renumbered) = self.sets.exchange(self.excluded, lowered.excluded());
        plan.renumber_sets(renumbered);
        self.excluded = number;
        plan.excluded = number;
    }
}
