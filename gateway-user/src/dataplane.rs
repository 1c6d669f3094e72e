//! The BPF side of wg0: programs loaded and attached, policy installed, counters read.
//!
//! Maps and links are pinned, so the programs go on deciding while no daemon runs, by the policy installed last and
//! until its lease ends. A daemon that starts adopts them; it never detaches.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use chrono::{DateTime, Utc};
use nexa_abi::engine::Limit;
use nexa_abi::layout::{Direction, MAX_PEERS, MAX_RULES, PeerKey, PeerValue, State, map};
use nexa_gateway_core::install::Moment;
use nexa_gateway_core::{Installer, Lowered, Overflow, Plan, room};
use nexa_types::{DeviceId, Generation};

use crate::events::Ring;

mod batch;
mod counters;
mod links;
mod mapping;
mod maps;
mod memory;
mod pins;
mod prefixes;
mod profiles;
mod reader;
mod removal;
mod shape;
mod state;
mod table;

pub use self::counters::{Census, Counters, Drops, PeerCounters, RuleName};
use self::counters::{CounterMaps, rule_names};
pub use self::links::Attachment;
use self::maps::Maps;
pub use self::memory::{MapMemory, expected as expected_memory};
use self::pins::Pins;
pub use self::reader::Reader;
pub use self::state::boot_clock_ns;
use self::table::NotWritten;

/// The programs, by the names that the object gives them.
pub const INGRESS: &str = "nexa_ingress";
/// See [`INGRESS`].
pub const EGRESS: &str = "nexa_egress";

/// A browser with many tabs begins some hundred flows at once. At this rate alone one device would need four minutes to
/// fill the flow map, while most flows live for less without traffic.
const NEW_FLOW_LIMIT: Limit = Limit::new(1_000, 4_000);

/// The object, built by `cargo xtask ebpf` and aligned as the ELF reader wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NEXA_EBPF_OBJECT"));

/// How the programs are loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder on a bpffs where maps and links are pinned; made if absent. None pins nothing: everything ends with
    /// the value, as tests want it.
    pub pin_dir: Option<PathBuf>,
    /// Most flows that are remembered; each takes about 150 bytes of kernel memory.
    pub max_flows: u32,
    /// How many flows a device may begin, so that none can evict those of others.
    pub new_flow_limit: Limit,
    /// Most rules of a policy that are counted apart.
    pub max_rules: u32,
    /// Most prefixes, and most port entries, of a policy and the one before it together.
    pub max_entries: u32,
    /// Most addresses of devices of both.
    pub max_addresses: u32,
    /// Bytes in front of the IP header: 0 on wg0.
    pub l2_len: u32,
    /// How the programs are put on an interface.
    pub attachment: Attachment,
}

/// Programs, maps, and what is in them.
pub struct Dataplane {
    ebpf: Ebpf,
    maps: Maps,
    pin_dir: Option<PathBuf>,
    /// What is pinned there.
    pins: Option<Pins>,
    attachment: Attachment,
    max_rules: u32,
    meters: memory::Meters,
    /// What is in the maps; none before the first policy.
    installer: Option<Arc<Installer>>,
    /// Whether nothing else is: after a failed swap the maps are read before the next one.
    knows_maps: bool,
    /// The same as `installer`, for the next plan: what plans is spoilt where the kernel does not take the plan. None where
    /// it is to be made anew.
    spare: Option<Installer>,
    reader: Arc<Reader>,
    counting: Arc<CounterMaps>,
    /// How often the maps were written: tells a reader whether they changed under it.
    writes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pin_dir: None,
            max_flows: 1 << 18,
            new_flow_limit: NEW_FLOW_LIMIT,
            max_rules: MAX_RULES,
            max_entries: 2 << 20,
            max_addresses: 4 * MAX_PEERS,
            l2_len: 0,
            attachment: Attachment::of_kernel(),
        }
    }
}

impl Dataplane {
    /// Loads the programs over the pinned maps, if there are any. Nothing is attached and nothing is changed.
    ///
    /// # Errors
    /// When the kernel refuses, with the verifier's or the system's words.
    pub fn open(options: &Options) -> anyhow::Result<Self> {
        let mut loader = EbpfLoader::new();
        let shapes = shape::of(options);
        for shape in &shapes {
            loader.map_max_entries(shape.name, shape.entries);
        }
        loader.override_global("L2_LEN", &options.l2_len, true);
        loader.override_global("NEW_FLOW_LIMIT", &options.new_flow_limit, true);
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| anyhow::Error::new(error).context(path))?;
        let recent_mask = shape::recent_places_of_cpu(options, u32::try_from(cpus)?) - 1;
        loader.override_global("RECENT_MASK", &recent_mask, true);
        if let Some(dir) = &options.pin_dir {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}; is a bpffs mounted there?", dir.display()))?;
            maps::unpin_foreign(dir, &shapes)?;
            for name in maps::PINNED {
                loader.map_pin_path(name, dir.join(name));
            }
        }
        let mut ebpf = loader.load(OBJECT).context("the kernel refused the BPF maps")?;
        for name in [INGRESS, EGRESS] {
            classifier(&mut ebpf, name)?
                .load()
                .with_context(|| format!("the kernel refused program {name}"))?;
        }
        let reader = Arc::new(Reader::open(&ebpf)?);
        let meters = memory::Meters::open(&ebpf, &shapes)?;
        let counting = Arc::new(CounterMaps::open(&ebpf)?);
        let maps = Maps::take(&mut ebpf)?;
        let mut pins = options.pin_dir.clone().map(Pins::in_folder);
        if let Some(pins) = &mut pins {
            maps::PINNED.iter().try_for_each(|name| pins.hold(name))?;
        }
        Ok(Self {
            ebpf,
            maps,
            pin_dir: options.pin_dir.clone(),
            pins,
            attachment: options.attachment,
            max_rules: options.max_rules,
            meters,
            installer: None,
            knows_maps: false,
            spare: None,
            reader,
            counting,
            writes: 0,
        })
    }

    /// Attaches both programs to `interface`, in front of all others. Programs that an earlier daemon attached there
    /// are replaced without a moment in which none is. To be called before the interface is brought up.
    ///
    /// # Errors
    /// When the interface is missing, or the kernel lacks what [`Attachment`] needs.
    pub fn attach(&mut self, interface: &str) -> anyhow::Result<()> {
        for (name, direction) in [(INGRESS, Direction::Ingress), (EGRESS, Direction::Egress)] {
            let pin = self.pin_dir.as_deref().map(|dir| dir.join(name));
            let program = classifier(&mut self.ebpf, name)?;
            match self.attachment {
                Attachment::Tcx => links::attach_tcx(program, interface, direction, pin.as_deref()),
                Attachment::Clsact => links::attach_clsact(program, interface, direction),
            }
            .with_context(|| format!("cannot attach {name} to {interface}"))?;
            if let (Attachment::Tcx, Some(pins)) = (self.attachment, &mut self.pins) {
                pins.hold(name)?;
            }
        }
        Ok(())
    }

    /// Pins again what somebody has unpinned, and says what that was. Packets were judged on meanwhile; had the daemon
    /// ended, none would have passed any more.
    ///
    /// # Errors
    /// When the folder is on no BPF file system any more.
    pub fn restore_pins(&self) -> anyhow::Result<Vec<&'static str>> {
        self.pins.as_ref().map_or(Ok(Vec::new()), Pins::restore)
    }

    /// Puts a policy in force, whole, until `lease_until`. When it returns, every packet that arrives is judged by it. What
    /// only the policy before referred to waits for [`Self::remove_retired`].
    ///
    /// # Errors
    /// When it does not fit ([`is_overflow`]) or the kernel refuses. The policy before then stays in force.
    pub fn apply(&mut self, policy: &Lowered, lease_until: DateTime<Utc>) -> anyhow::Result<Generation> {
        let (needed, capacity) = (policy.rule_count(), self.max_rules as usize);
        if needed > capacity {
            return Err(Overflow { map: map::RULE_COUNTERS, needed, capacity }.into());
        }
        let moment = Moment { boot_ns: boot_clock_ns()?, wall: Utc::now(), lease_until };
        if self.knows_maps {
            return self.step(|installer| installer.plan(policy, moment));
        }
        self.writes += 1;
        let found = self.maps.find()?;
        let (installer, plan) = Installer::adopt(&found, policy, moment);
        let before: HashMap<PeerKey, PeerValue> = found.peers.into_iter().collect();
        self.install(&installer, &plan, || before)?;
        self.spare = None;
        self.installer = Some(Arc::new(installer));
        self.knows_maps = true;
        Ok(self.generation())
    }

    /// Takes everything from some devices, at once and whatever room the maps have. To be followed by a policy without
    /// them.
    ///
    /// # Errors
    /// When it is not known what is in the maps, or the kernel refuses.
    pub fn expel(&mut self, devices: &BTreeSet<DeviceId>) -> anyhow::Result<Generation> {
        self.step(|installer| installer.expel(devices))
    }

    /// Goes on from what is in the maps.
    fn step(&mut self, plan: impl Fn(&mut Installer) -> Plan) -> anyhow::Result<Generation> {
        let before = self.installer.clone().filter(|_| self.knows_maps).context("no policy is in force")?;
        self.writes += 1;
        let mut installer = self.spare.take().unwrap_or_else(|| Installer::clone(&before));
        let planned = plan(&mut installer);
        self.install(&installer, &planned, || before.addresses().collect())?;
        self.installer = Some(Arc::new(installer));
        // It comes to the same: so nobody pays for a copy of everything. Somebody may be reading it, though.
        self.spare = Arc::into_inner(before).map(|mut follower| {
            plan(&mut follower);
            follower
        });
        Ok(self.generation())
    }

    /// Carries out a plan, after which `installer` is what is in the maps. `before` are the addresses of the policy in force.
    fn install(
        &mut self,
        installer: &Installer,
        plan: &Plan,
        before: impl FnOnce() -> HashMap<PeerKey, PeerValue>,
    ) -> anyhow::Result<()> {
        let generation = Generation(plan.state.generation());
        self.make_room(installer, plan)?;
        if let Err(error) = self.maps.prepare(plan) {
            if let Err(error) = self.maps.take_back(plan, &before()) {
                tracing::error!("what was written of a policy cannot be taken back: {error:#}");
                // Found and deleted by the next one.
                self.knows_maps = false;
            }
            return Err(error.context(format!("generation {generation} cannot be installed")));
        }
        self.maps.flip(plan);
        self.maps.retire(plan);
        Ok(())
    }

    /// Makes sure that a plan fits before anything of it is written.
    fn make_room(&mut self, planned: &Installer, plan: &Plan) -> anyhow::Result<()> {
        let check = |maps: &Maps| room::check(planned, plan, maps.retired(), maps.capacity());
        if check(&self.maps).is_err() {
            self.maps.remove_all_retired()?;
        }
        Ok(check(&self.maps)?)
    }

    /// Whether there is something to do for [`Self::remove_retired`].
    pub fn has_retired(&self) -> bool {
        self.maps.has_retired() || self.lacks_spare()
    }

    /// Deletes some of what only earlier policies referred to, for a few milliseconds at most: between two calls a new
    /// policy may come into force. What a daemon does not get to, the next one finds and deletes. Before that it does what
    /// the next policy would have to wait for.
    ///
    /// # Errors
    /// When the kernel refuses; it may be tried again.
    pub fn remove_retired(&mut self) -> anyhow::Result<()> {
        if self.lacks_spare() {
            self.spare = self.installer.as_deref().cloned();
        }
        self.maps.remove_retired()
    }

    const fn lacks_spare(&self) -> bool {
        self.knows_maps && self.spare.is_none()
    }

    /// What is meant to be in the maps, under the number of the last write; none while that is not known, as after a
    /// swap that failed half-way.
    pub fn intent(&self) -> Option<(u64, Arc<Installer>)> {
        let installer = self.installer.as_ref().filter(|_| self.knows_maps)?;
        Some((self.writes, Arc::clone(installer)))
    }

    /// The generation in force; 0 before the first policy.
    pub fn generation(&self) -> Generation {
        Generation(self.maps.state().generation())
    }

    /// A view of the policy maps that waits for nobody.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// The ring buffer that the programs write events to. It can be taken once.
    ///
    /// # Errors
    /// When it is not there.
    pub fn take_events(&mut self) -> anyhow::Result<Ring> {
        Ring::of(self.ebpf.take_map(map::EVENTS).context("the object has no map EVENTS")?)
    }

    /// Lets the next [`Self::apply`] believe nothing of what the maps hold: somebody else has written to them.
    pub fn distrust(&mut self) {
        if let Some((_, installer)) = self.intent() {
            // Another bank may hold a generation whose sets are deleted.
            self.maps.reset(State::new(installer.generation()));
        }
        self.knows_maps = false;
    }

    /// What is counted under the policy in force, to be read without holding anybody up.
    pub fn census(&self) -> Census {
        // Lists of its own: who reads them for long would keep the next policy from planning in place.
        let installer = self.installer.as_deref();
        let devices = installer.into_iter().flat_map(Installer::devices).collect();
        let rules = rule_names(installer.into_iter().flat_map(Installer::rules));
        Census::new(self.generation(), devices, rules, Arc::clone(&self.counting))
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn counters(&self) -> anyhow::Result<Counters> {
        self.census().read()
    }

    /// The kernel's memory that each map takes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn memory(&self) -> anyhow::Result<Vec<MapMemory>> {
        self.meters.read()
    }

    /// A program, for runs on packets that never were on a wire.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn program(&self, name: &str) -> anyhow::Result<&SchedClassifier> {
        let program = self.ebpf.program(name).with_context(|| format!("the object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Forgets all flows and fragments, so that each packet is decided anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget_flows(&mut self) -> anyhow::Result<()> {
        self.maps.forget_flows()
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// Whether a policy is not in force only because the maps, or the kernel's memory, have no room for it.
pub fn is_overflow(error: &anyhow::Error) -> bool {
    let of_kernel = error.downcast_ref::<NotWritten>().is_some_and(NotWritten::is_overflow);
    of_kernel || error.downcast_ref::<Overflow>().is_some()
}

/// Ids of the programs that packets of `interface` pass by TCX links, in their order.
///
/// # Errors
/// When there is no such interface, or the kernel is older than 6.6.
pub fn programs_on(interface: &str, direction: Direction) -> anyhow::Result<Vec<u32>> {
    links::programs_on(interface, direction)
}
