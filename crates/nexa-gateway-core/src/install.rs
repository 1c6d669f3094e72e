//! Which map entries to write and to delete, and in which order, so that every packet sees one generation.
//!
//! Sets and classes are content-addressed: what is in the maps already stays, under the number it has. New ones get
//! numbers that no program can still be reading. Profiles exist in two banks; a generation writes the idle one and
//! becomes live by the one store that names it. What the previous generation alone used is deleted after that store
//! and after every program that may have begun before it has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::layout::{
    DestKey, MAX_PEERS, MAX_SET, PeerKey, PeerValue, PortsKey, PortsValue, Profile, RULE_SLOTS, State,
};
use nexa_policy::compile::{ClassId, CompiledPeer, SetId, Touched};
use nexa_types::{DeviceId, RuleId};

use self::numbers::{Numbers, Renumbered};
use crate::content::Content;
use crate::lower::{DestEntry, Edition, Lowered, LoweredPeer, PortsEntry};
use crate::room::Room;
use crate::slots::Slots;

mod numbers;
mod patch;

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
    /// Into STATE, with the flip: the set of what no resource covers.
    pub excluded: u32,
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
        installer.sets = Numbers::above(last(&mut found.dest.iter().map(|(_, key)| key.set())));
        installer.classes = Numbers::above(last(&mut found.ports.iter().map(|(_, key)| number(key.class))));
        installer.keep_indexes(found, lowered);
        installer.slots = Slots::found(&found.rules, found.rule_slots);
        // Nothing is known of either bank: write every position of the idle one.
        installer.written = [MAX_PEERS; 2];

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
        for device in lowered.everything().peers {
            let Some(peer) = lowered.peer(device) else { continue };
            let [v4, v6] = peer.addresses.map(|key| known.get(&key).copied());
            if let Some(index) = v4.filter(|index| v6 == v4 && *index < MAX_PEERS && taken.insert(*index)) {
                let epoch = self.epoch;
                self.peers.insert(device, Installed { index, addresses: peer.addresses, epoch });
            }
        }
        let given = known.values().filter(|index| **index < MAX_PEERS);
        let used = given.map(|index| index + 1).max().unwrap_or(0);
        self.profiles.resize(used as usize, None);
        self.free = (0..used).filter(|index| !taken.contains(index)).collect();
    }

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

    /// Plans that `devices` are gone at once, whatever room there is: it takes none. Sets are left for the next plan.
    pub fn expel(&mut self, devices: &BTreeSet<DeviceId>) -> Plan {
        self.generation += 2;
        let mut plan =
            Plan { state: State::new(self.generation), excluded: self.excluded, ..Plan::default() };
        let bank = plan.state.bank();
        for device in devices {
            let Some(Installed { index, addresses, .. }) = self.peers.remove(device) else { continue };
            plan.patches.push((bank * MAX_PEERS + index, Patch::Gone));
            plan.delete_peers.extend(addresses);
            self.profiles[index as usize] = None;
            self.free.push_back(index);
        }
        let gone: HashSet<u32> = plan.patches.iter().map(|(position, _)| *position).collect();
        self.live.retain(|(position, _)| !gone.contains(position));
        // No policy is what is installed now.
        self.edition = Edition::default();
        plan
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

    fn plan_peers(&mut self, lowered: &Lowered, scope: &Scope, plan: &mut Plan) {
        let (mut devices, touched) = match scope {
            Scope::Touched(touched) => (touched.peers.clone(), touched),
            Scope::Everything(all) => (all.peers.clone(), all),
        };
        if matches!(scope, Scope::Everything(_)) {
            devices.extend(self.peers.keys());
        }
        let (there, gone): (Vec<_>, Vec<_>) =
            devices.into_iter().partition(|device| lowered.peer(*device).is_some());
        let mut freed: BTreeSet<PeerKey> = BTreeSet::new();
        for installed in gone.iter().filter_map(|device| self.peers.remove(device)) {
            freed.extend(installed.addresses);
            self.profiles[installed.index as usize] = None;
            self.free.push_back(installed.index);
        }
        for device in &there {
            let Some(peer) = lowered.peer(*device) else { continue };
            let LoweredPeer { addresses, sets, expires_at } = peer;
            if let Some(Installed { index, epoch, .. }) = self.place_of(*device, addresses, plan, &mut freed)
            {
                self.profiles[index as usize] = Some(Profiled { epoch, sets, expires_at });
            }
        }
        // An address that went from one to another.
        for address in
            touched.peers.iter().filter_map(|device| self.peers.get(device)).flat_map(|peer| peer.addresses)
        {
            freed.remove(&address);
        }
        plan.delete_peers.extend(freed);
    }

    fn plan_profiles(&mut self, moment: Moment, plan: &mut Plan) {
        let bank = plan.state.bank();
        let first = bank * MAX_PEERS;
        // Of nearly all of them.
        let lease_until_ns = moment.boot_deadline_ns(None);
        let profiles = self.profiles.iter().zip(0..).filter_map(|(profiled, index)| {
            let Profiled { epoch, sets: CompiledPeer { shared, own }, expires_at } = (*profiled)?;
            let profile = Profile {
                peer: index,
                shared: self.sets.of(shared.0),
                own: self.sets.of(own.0),
                epoch,
                lease_until_ns: expires_at.map_or(lease_until_ns, |_| moment.boot_deadline_ns(expires_at)),
            };
            Some((first + index, profile))
        });
        self.live = profiles.collect();
        plan.profiles.clone_from(&self.live);
        let used = self.profiles.len() as u32;
        let dirty = std::mem::replace(&mut self.written[bank as usize], used);
        let is_free = |index: &u32| self.profiles.get(*index as usize).is_none_or(Option::is_none);
        let vacant = (0..used.max(dirty)).filter(is_free);
        plan.profiles.extend(vacant.map(|index| (first + index, Profile::default())));
    }

    /// The peer's place, a new one if it is new. None when all are taken, which lowering rules out.
    fn place_of(
        &mut self,
        device: DeviceId,
        addresses: [PeerKey; 2],
        plan: &mut Plan,
        freed: &mut BTreeSet<PeerKey>,
    ) -> Option<Installed> {
        // Of this generation, so that no flow of an earlier hold on these addresses or this index is one of this.
        let epoch = plan.state.generation() as u32;
        if let Some(installed) = self.peers.get_mut(&device) {
            if installed.addresses != addresses {
                freed.extend(installed.addresses);
                installed.addresses = addresses;
                installed.epoch = epoch;
                plan.insert_peers.extend(addresses.map(|key| (key, PeerValue { peer: installed.index })));
            }
            return Some(*installed);
        }
        let index = match u32::try_from(self.profiles.len()) {
            Ok(next) if next < MAX_PEERS => {
                self.profiles.push(None);
                next
            }
            _ => self.free.pop_front()?,
        };
        plan.reset_counters.push(index);
        plan.insert_peers.extend(addresses.map(|key| (key, PeerValue { peer: index })));
        let installed = Installed { index, addresses, epoch };
        self.peers.insert(device, installed);
        Some(installed)
    }
}

impl Plan {
    fn renumber_sets(&mut self, Renumbered { added, gone }: Renumbered<DestEntry>) {
        for (set, number) in added {
            self.insert_dest.extend(set.iter().map(|entry| dest(*entry, number)));
        }
        for (set, number) in gone {
            let keys = set.iter().map(|entry| dest(*entry, number)).map(|(bits, key, _)| (bits, key));
            self.delete_dest.extend(keys);
        }
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
