//! Which map entries to write and to delete, and in which order, so that every packet sees one generation.
//!
//! Sets and classes are content-addressed: what is in the maps already stays, under the number it has. New ones get
//! numbers that no program can still be reading. Profiles exist in two banks; a generation writes the idle one and
//! becomes live by the one store that names it. What the previous generation alone used is deleted after that store
//! and after every program that may have begun before it has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::layout::{
    DestKey, EMPTY_CLASS, EMPTY_SET, MAX_PEERS, MAX_SET, PeerKey, PeerValue, PortsKey, PortsValue, Profile,
    RULE_SLOTS, State,
};
use nexa_types::{DeviceId, RuleId};

use crate::content::Content;
use crate::lower::{DestEntry, Lowered, LoweredPeer, PortsEntry};
use crate::room::Room;
use crate::slots::Slots;

/// A prefix of the DEST map with its number given.
pub type Dest = (u32, DestKey, u32);
/// A prefix of the PORTS map with its number given.
pub type Ports = (u32, PortsKey, PortsValue);

/// Writes and deletions of one swap. To be done in the order of the fields, the whole of one before the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Into PORTS: bits, key, value.
    pub insert_ports: Vec<Ports>,
    /// Into DEST: bits, key, class.
    pub insert_dest: Vec<Dest>,
    /// Into PEERS. Without effect before the flip: the live bank has no profile for them.
    pub insert_peers: Vec<(PeerKey, PeerValue)>,
    /// Into PROFILES, by position; all of the idle bank, or nothing of it.
    pub profiles: Vec<(u32, Profile)>,
    /// Into PROFILES, by position, where one store in the live bank is all that changes for a device.
    pub patches: Vec<(u32, Patch)>,
    /// Into STATE: the flip. The bank stays where there are patches.
    pub state: State,
    /// From PEERS, after the flip: addresses without a device.
    pub delete_peers: Vec<PeerKey>,
    /// From DEST, after the flip and a grace period: bits and key.
    pub delete_dest: Vec<(u32, DestKey)>,
    /// From PORTS, after the flip and a grace period: bits and key.
    pub delete_ports: Vec<(u32, PortsKey)>,
    /// Indexes whose counters start anew, before the flip.
    pub reset_counters: Vec<u32>,
    /// Slots of rules whose counters start anew, before the flip.
    pub reset_rules: Vec<u32>,
}

/// What changes of a profile under the eyes of programs: one aligned store, so that none of them sees half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// Nobody is there any more. The rest of the profile is cleared once no program may look at it.
    Gone,
    /// [`Profile::lease_until_ns`].
    Lease(u64),
    /// [`Profile::shared`].
    Shared(u32),
    /// [`Profile::own`].
    Own(u32),
}

/// Boot clock and wall clock at one moment, and until when the policy may be served at all.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Boot clock, nanoseconds.
    pub boot_ns: u64,
    /// Wall clock.
    pub wall: DateTime<Utc>,
    /// When everything ends unless another policy arrives.
    pub lease_until: DateTime<Utc>,
}

/// The kernel counts time since boot. When the wall clock moves against that by more, what was computed from it is computed
/// anew.
pub const CLOCK_STEP: TimeDelta = TimeDelta::milliseconds(250);

/// What is in the maps.
#[derive(Clone, Debug, Default)]
pub struct Installer {
    generation: u64,
    epoch: u32,
    /// Sets whose entries hold the numbers of their classes, not their positions.
    sets: Numbers<Vec<DestEntry>>,
    classes: Numbers<Vec<PortsEntry>>,
    slots: Slots,
    /// By which deadlines of entries were computed: an instant is one deadline for all of them.
    clocks: Clocks,
    peers: BTreeMap<DeviceId, Installed>,
    /// Indexes that nobody has, longest free first.
    free: VecDeque<u32>,
    never_used: u32,
    /// Positions of PROFILES that are not zero.
    written: [HashSet<u32>; 2],
    /// The live bank's profiles, by position; a position that is not here is zero.
    live: Vec<(u32, Profile)>,
}

/// Numbers of sets and classes above this one were never given out. Found in a map they are damage, and numbering does
/// not go on from there.
const MAX_NUMBER: u32 = MAX_SET / 2;

/// Boot clock and wall clock at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    boot_ns: u64,
    wall: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug)]
struct Installed {
    index: u32,
    addresses: [PeerKey; 2],
    /// The generation since which it has them under this index: [`Profile::epoch`].
    epoch: u32,
}

/// Numbers for contents. A number is never given twice, so that an entry being deleted is never one being used.
#[derive(Clone, Debug)]
struct Numbers<T> {
    by_content: HashMap<T, u32>,
    last: u32,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { by_content: HashMap::new(), last: 0 }
    }
}

/// What a daemon that starts finds in pinned maps: everything an earlier one left.
#[derive(Clone, Debug)]
pub struct Found {
    /// The live generation.
    pub state: State,
    /// All addresses.
    pub peers: Vec<(PeerKey, PeerValue)>,
    /// All prefixes of DEST: bits and key.
    pub dest: Vec<(u32, DestKey)>,
    /// All prefixes of PORTS: bits and key.
    pub ports: Vec<(u32, PortsKey)>,
    /// Numbers of rules with their slots, as PORTS has them.
    pub rules: BTreeSet<(u32, u32)>,
    /// How many slots there are.
    pub rule_slots: u32,
}

/// Empty maps.
impl Default for Found {
    fn default() -> Self {
        Self {
            state: State::default(),
            peers: Vec::new(),
            dest: Vec::new(),
            ports: Vec::new(),
            rules: BTreeSet::new(),
            rule_slots: RULE_SLOTS,
        }
    }
}

impl Installer {
    /// Plans the first swap over maps that an earlier daemon filled, or over empty ones.
    ///
    /// What is found stays in force until the flip and is deleted after it. Numbers go on above those found.
    pub fn adopt(found: &Found, lowered: &Lowered, moment: Moment) -> (Self, Plan) {
        let number = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
        let mut installer = Self {
            generation: found.state.generation(),
            // Flows in the map were decided under numbers that may be given out again; this tells them apart.
            epoch: (found.state.generation() + 1) as u32,
            ..Self::default()
        };
        let last = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.filter(|number| *number <= MAX_NUMBER).max().unwrap_or(0)
        };
        installer.sets.last = last(&mut found.dest.iter().map(|(_, key)| key.set()));
        installer.classes.last = last(&mut found.ports.iter().map(|(_, key)| number(key.class)));
        installer.keep_indexes(found, lowered);
        installer.slots = Slots::found(&found.rules, found.rule_slots);
        // Nothing is known of either bank: write every position of the idle one.
        installer.written = [(0..MAX_PEERS).collect(), (0..MAX_PEERS).collect()];

        let mut plan = installer.plan(lowered, moment);
        let kept: HashSet<PeerKey> =
            installer.peers.values().flat_map(|installed| installed.addresses).collect();
        plan.delete_peers.extend(found.peers.iter().map(|(key, _)| *key).filter(|key| !kept.contains(key)));
        plan.delete_dest.extend(found.dest.iter().copied());
        plan.delete_ports.extend(found.ports.iter().copied());
        (installer, plan)
    }

    /// Leaves devices the indexes under which the maps know their addresses: their packets pass and their counters
    /// go on while the daemon changes.
    fn keep_indexes(&mut self, found: &Found, lowered: &Lowered) {
        let known: HashMap<PeerKey, u32> =
            found.peers.iter().map(|(key, value)| (*key, value.peer)).collect();
        let mut taken = HashSet::new();
        for peer in &lowered.peers {
            let [v4, v6] = peer.addresses.map(|key| known.get(&key).copied());
            if let Some(index) = v4.filter(|index| v6 == v4 && *index < MAX_PEERS && taken.insert(*index)) {
                let epoch = self.epoch;
                self.peers.insert(peer.device, Installed { index, addresses: peer.addresses, epoch });
            }
        }
        let given = known.values().filter(|index| **index < MAX_PEERS);
        self.never_used = given.map(|index| index + 1).max().unwrap_or(0);
        self.free = (0..self.never_used).filter(|index| !taken.contains(index)).collect();
    }

    /// Plans the swap from what is installed to `lowered`. The caller carries out the plan whole; after a failure
    /// it starts over with [`Self::adopt`].
    pub fn plan(&mut self, lowered: &Lowered, moment: Moment) -> Plan {
        let mut plan = Plan { state: State::new(self.generation + 1), ..Plan::default() };
        plan.reset_rules = self.slots.replace(&lowered.rules);
        self.follow_clock(moment, &mut plan);
        let classes = self.plan_classes(lowered, &mut plan);
        let sets = self.plan_sets(lowered, &classes, &mut plan);
        self.plan_peers(lowered, &sets, moment, &mut plan);
        self.generation += 1;
        plan
    }

    /// Plans that `devices` are gone at once, whatever room there is: it takes none. Sets are left for the next plan.
    pub fn expel(&mut self, devices: &BTreeSet<DeviceId>) -> Plan {
        self.generation += 2;
        let mut plan = Plan { state: State::new(self.generation), ..Plan::default() };
        let bank = plan.state.bank();
        for device in devices {
            let Some(Installed { index, addresses, .. }) = self.peers.remove(device) else { continue };
            plan.patches.push((bank * MAX_PEERS + index, Patch::Gone));
            plan.delete_peers.extend(addresses);
            self.written[bank as usize].remove(&index);
            self.free.push_back(index);
        }
        let gone: HashSet<u32> = plan.patches.iter().map(|(position, _)| *position).collect();
        self.live.retain(|(position, _)| !gone.contains(position));
        plan
    }

    /// The live generation.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What is in the maps, if nobody but this gateway wrote to them.
    pub fn content(&self) -> Content {
        let dest = self.sets.by_content.iter().flat_map(|(set, number)| {
            set.iter().map(|entry| dest(*entry, *number)).map(|(bits, key, class)| ((bits, key), class))
        });
        let ports = self.classes.by_content.iter().flat_map(|(class, number)| {
            class
                .iter()
                .map(|entry| ports(*entry, *number, &self.slots, self.clocks))
                .map(|(bits, key, value)| ((bits, key), value))
        });
        Content {
            state: State::new(self.generation),
            peers: self.addresses().collect(),
            profiles: self.live.iter().copied().collect(),
            dest: dest.collect(),
            ports: ports.collect(),
        }
    }

    /// Entries that the live generation has.
    pub fn room(&self) -> Room {
        Room {
            peers: self.peers.len() * 2,
            dest: self.sets.by_content.keys().map(Vec::len).sum(),
            ports: self.classes.by_content.keys().map(Vec::len).sum(),
        }
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

    fn plan_classes(&mut self, lowered: &Lowered, plan: &mut Plan) -> Vec<u32> {
        let (numbers, added, gone) = self.classes.replace(lowered.classes.iter().cloned(), EMPTY_CLASS);
        for (class, number) in added {
            plan.insert_ports
                .extend(class.iter().map(|entry| ports(*entry, number, &self.slots, self.clocks)));
        }
        delete_classes(&gone, plan);
        numbers
    }

    /// Where the wall clock was set, classes with deadlines are no longer what they were: they are written anew under
    /// other numbers, which ends the flows that go by them, too.
    fn follow_clock(&mut self, moment: Moment, plan: &mut Plan) {
        let now = Clocks { boot_ns: moment.boot_ns, wall: moment.wall };
        if self.clocks.step_to(now) <= CLOCK_STEP {
            return;
        }
        self.clocks = now;
        delete_classes(
            &self.classes.forget(|class| class.iter().any(|entry| entry.not_after.is_some())),
            plan,
        );
    }

    fn plan_sets(&mut self, lowered: &Lowered, classes: &[u32], plan: &mut Plan) -> Vec<u32> {
        let numbered = |entry: &DestEntry| {
            let class = classes.get(entry.class as usize).copied().unwrap_or(EMPTY_CLASS);
            DestEntry { class, ..*entry }
        };
        let sets = lowered.sets.iter().map(|set| set.iter().map(numbered).collect());
        let (numbers, added, gone) = self.sets.replace(sets, EMPTY_SET);
        for (set, number) in added {
            plan.insert_dest.extend(set.iter().map(|entry| dest(*entry, number)));
        }
        for (set, number) in gone {
            plan.delete_dest
                .extend(set.iter().map(|entry| dest(*entry, number)).map(|(bits, key, _)| (bits, key)));
        }
        numbers
    }

    fn plan_peers(&mut self, lowered: &Lowered, sets: &[u32], moment: Moment, plan: &mut Plan) {
        let staying: HashSet<DeviceId> = lowered.peers.iter().map(|peer| peer.device).collect();
        let gone: Vec<DeviceId> =
            self.peers.keys().filter(|device| !staying.contains(device)).copied().collect();
        let mut freed: HashSet<PeerKey> = HashSet::new();
        for device in gone {
            if let Some(installed) = self.peers.remove(&device) {
                freed.extend(installed.addresses);
                self.free.push_back(installed.index);
            }
        }

        let bank = plan.state.bank();
        let mut positions = HashSet::new();
        for peer in &lowered.peers {
            let Some(Installed { index, epoch, .. }) = self.place_of(peer, plan, &mut freed) else {
                continue;
            };
            let position = bank * MAX_PEERS + index;
            let profile = Profile {
                peer: index,
                shared: sets.get(peer.shared).copied().unwrap_or(EMPTY_SET),
                own: sets.get(peer.own).copied().unwrap_or(EMPTY_SET),
                epoch,
                lease_until_ns: moment.boot_deadline_ns(peer.expires_at),
            };
            plan.profiles.push((position, profile));
            positions.insert(index);
        }
        self.live.clone_from(&plan.profiles);
        let previous = std::mem::replace(&mut self.written[bank as usize], positions);
        let written = &self.written[bank as usize];
        plan.profiles
            .extend(previous.difference(written).map(|index| (bank * MAX_PEERS + index, Profile::default())));
        let kept: HashSet<PeerKey> = self.peers.values().flat_map(|installed| installed.addresses).collect();
        plan.delete_peers.extend(freed.into_iter().filter(|key| !kept.contains(key)));
    }

    /// The peer's place, a new one if it is new. None when all are taken, which lowering rules out.
    fn place_of(
        &mut self,
        peer: &LoweredPeer,
        plan: &mut Plan,
        freed: &mut HashSet<PeerKey>,
    ) -> Option<Installed> {
        // Of this generation, so that no flow of an earlier hold on these addresses or this index is one of this.
        let epoch = plan.state.generation() as u32;
        if let Some(installed) = self.peers.get_mut(&peer.device) {
            if installed.addresses != peer.addresses {
                freed.extend(installed.addresses);
                installed.addresses = peer.addresses;
                installed.epoch = epoch;
                plan.insert_peers
                    .extend(peer.addresses.map(|key| (key, PeerValue { peer: installed.index })));
            }
            return Some(*installed);
        }
        let index = if self.never_used < MAX_PEERS {
            self.never_used += 1;
            self.never_used - 1
        } else {
            self.free.pop_front()?
        };
        plan.reset_counters.push(index);
        plan.insert_peers.extend(peer.addresses.map(|key| (key, PeerValue { peer: index })));
        let installed = Installed { index, addresses: peer.addresses, epoch };
        self.peers.insert(peer.device, installed);
        Some(installed)
    }
}

fn delete_classes(gone: &[(Vec<PortsEntry>, u32)], plan: &mut Plan) {
    for (class, number) in gone {
        plan.delete_ports.extend(class.iter().map(|entry| (entry.prefix_bits, ports_key(*entry, *number))));
    }
}

impl Moment {
    /// The boot clock at which a device's time is up: its own expiry or the lease, whichever is first. Never 0,
    /// which would mean that nobody is there.
    fn boot_deadline_ns(&self, expires_at: Option<DateTime<Utc>>) -> u64 {
        let until = expires_at.map_or(self.lease_until, |expires_at| expires_at.min(self.lease_until));
        Clocks { boot_ns: self.boot_ns, wall: self.wall }.boot_ns_at(until).max(1)
    }
}

impl Clocks {
    /// What the boot clock shows at an instant; what it shows now, if that is over.
    fn boot_ns_at(self, at: DateTime<Utc>) -> u64 {
        let left = (at - self.wall).to_std().unwrap_or_default();
        let left_ns = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        self.boot_ns.saturating_add(left_ns)
    }

    /// How far the wall clock has been set since, forward or back.
    fn step_to(self, now: Self) -> TimeDelta {
        let passed = i64::try_from(now.boot_ns.saturating_sub(self.boot_ns)).unwrap_or(i64::MAX);
        (now.wall - self.wall - TimeDelta::nanoseconds(passed)).abs()
    }
}

type Numbered<T> = Vec<(T, u32)>;

impl<T: Clone + Eq + std::hash::Hash + IsEmpty> Numbers<T> {
    /// Gives every content its number; returns the numbers, what is new, and what nobody uses any more.
    fn replace(
        &mut self,
        contents: impl Iterator<Item = T>,
        empty: u32,
    ) -> (Vec<u32>, Numbered<T>, Numbered<T>) {
        let mut previous = std::mem::take(&mut self.by_content);
        let mut numbers = Vec::new();
        let mut added = Vec::new();
        for content in contents {
            let number = if content.is_empty() {
                empty
            } else if let Some(number) = self.by_content.get(&content) {
                *number
            } else if let Some((content, number)) = previous.remove_entry(&content) {
                self.by_content.insert(content, number);
                number
            } else {
                self.last += 1;
                added.push((content.clone(), self.last));
                self.by_content.insert(content, self.last);
                self.last
            };
            numbers.push(number);
        }
        (numbers, added, previous.into_iter().collect())
    }
}

impl<T: Eq + std::hash::Hash> Numbers<T> {
    /// Takes the numbers of some contents away; returns both.
    fn forget(&mut self, which: impl Fn(&T) -> bool) -> Numbered<T> {
        self.by_content.extract_if(|content, _| which(content)).collect()
    }
}

/// Whether a content needs no number.
trait IsEmpty {
    fn is_empty(&self) -> bool;
}

impl<T> IsEmpty for Vec<T> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

fn dest(entry: DestEntry, set: u32) -> Dest {
    (entry.prefix_bits, DestKey::new(set, entry.family, entry.address), entry.class)
}

fn ports(entry: PortsEntry, class: u32, slots: &Slots, clocks: Clocks) -> Ports {
    let PortsEntry { prefix_bits, verdict, rule, not_after, .. } = entry;
    let not_after_ns = not_after.map_or(u64::MAX, |at| clocks.boot_ns_at(at));
    let value = PortsValue::new(verdict, slots.of(rule), rule, not_after_ns);
    (prefix_bits, ports_key(entry, class), value)
}

const fn ports_key(entry: PortsEntry, class: u32) -> PortsKey {
    PortsKey { class: class.to_be_bytes(), protocol: entry.protocol, port: entry.port.to_be_bytes() }
}
