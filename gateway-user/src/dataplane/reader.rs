//! The policy maps as the kernel holds them, read by system calls: by whom nothing is written and nobody is waited for.

use std::cell::RefCell;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use nexa_abi::engine::{self, Limit, Recent, Tables, Verdict};
use nexa_abi::layout::{
    DestKey, FlowKey, FlowValue, FragmentKey, FragmentValue, MAX_PEERS, PeerKey, PeerValue, PortsKey,
    PortsValue, Profile, State, Usage, map, state,
};
use nexa_gateway_core::Content;

use super::prefixes::Prefixes;
use super::profiles::Profiles;
use super::state::boot_clock_ns;
use super::table::Table;

/// Descriptors of its own onto the maps.
pub struct Reader {
    state: Array<MapData, State>,
    peers: HashMap<MapData, PeerKey, PeerValue>,
    profiles: Profiles,
    hosts: HashMap<MapData, DestKey, u32>,
    dest: LpmTrie<MapData, DestKey, u32>,
    single_ports: HashMap<MapData, PortsKey, PortsValue>,
    ports: LpmTrie<MapData, PortsKey, PortsValue>,
    flows: HashMap<MapData, FlowKey, FlowValue>,
    whole: Whole,
}

/// The same maps, to be read from end to end.
struct Whole {
    peers: Table<PeerKey, PeerValue>,
    dest: Prefixes<DestKey, u32>,
    ports: Prefixes<PortsKey, PortsValue>,
}

impl Reader {
    /// Opens the maps of a loaded object once more.
    pub(super) fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let again = |name| again(ebpf, name);
        Ok(Self {
            state: Map::Array(again(map::STATE)?).try_into()?,
            peers: Map::HashMap(again(map::PEERS)?).try_into()?,
            profiles: Profiles::map(&again(map::PROFILES)?)?,
            hosts: Map::HashMap(again(map::HOSTS)?).try_into()?,
            dest: Map::LpmTrie(again(map::DEST)?).try_into()?,
            single_ports: Map::HashMap(again(map::SINGLE_PORTS)?).try_into()?,
            ports: Map::LpmTrie(again(map::PORTS)?).try_into()?,
            flows: Map::LruHashMap(again(map::FLOWS)?).try_into()?,
            whole: Whole {
                peers: Table::open(map::PEERS, &again(map::PEERS)?)?,
                dest: Prefixes::open((map::HOSTS, &again(map::HOSTS)?), (map::DEST, &again(map::DEST)?))?,
                ports: Prefixes::open(
                    (map::SINGLE_PORTS, &again(map::SINGLE_PORTS)?),
                    (map::PORTS, &again(map::PORTS)?),
                )?,
            },
        })
    }

    /// All entries. Of maps that change meanwhile it may be of before and of after.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn content(&self) -> anyhow::Result<Content> {
        let live = self.state.get(&state::LIVE, 0).context("cannot read STATE")?;
        let first = live.bank() * MAX_PEERS;
        let profiles = (first..first + MAX_PEERS).map(|position| (position, self.profiles.load(position)));
        let Whole { peers, dest, ports } = &self.whole;
        let State(excluded) = self.state.get(&state::EXCLUDED, 0).context("cannot read STATE")?;
        Ok(Content {
            state: live,
            excluded: excluded as u32,
            peers: peers.read()?.into_iter().collect(),
            profiles: profiles.filter(|(_, profile)| *profile != Profile::default()).collect(),
            dest: dest.read()?.into_iter().collect(),
            ports: ports.read()?.into_iter().collect(),
        })
    }

    /// The flows that are live now in the policy in force, each with the nanoseconds since it was last heard.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flows(&self) -> anyhow::Result<Vec<(FlowKey, FlowValue, u64)>> {
        let bank = self.state.get(&state::LIVE, 0).context("cannot read STATE")?.bank();
        let now_ns = boot_clock_ns()?;
        let mut flows = Vec::new();
        for entry in self.flows.iter() {
            let (key, value) = entry.context("cannot read FLOWS")?;
            let Some(position) = value.peer.checked_add(bank * MAX_PEERS) else { continue };
            let profile = self.profiles.load(position);
            if engine::is_live(&key, &value, &profile, now_ns) {
                flows.push((key, value, now_ns.saturating_sub(value.seen_ns)));
            }
        }
        Ok(flows)
    }

    /// What the maps say now of a packet that nobody sent, and the generation that says it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn decide(&self, source: &PeerKey, tuple: &FlowKey) -> anyhow::Result<(Verdict, State)> {
        let live = self.state.get(&state::LIVE, 0).context("cannot read STATE")?;
        let asked = Asked { maps: self, state: live, failure: RefCell::default() };
        let verdict = engine::hypothetical(&asked, source, tuple, boot_clock_ns()?);
        match asked.failure.into_inner() {
            None => Ok((verdict, live)),
            Some(error) => Err(error).context("cannot read the policy maps"),
        }
    }
}

/// Opens a map of a loaded object once more.
pub(super) fn again(ebpf: &Ebpf, name: &str) -> anyhow::Result<MapData> {
    let cannot = || format!("cannot open map {name} once more");
    let data = match ebpf.map(name) {
        Some(
            Map::Array(data)
            | Map::PerCpuArray(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::LpmTrie(data),
        ) => data,
        other => anyhow::bail!("{}: it is {other:?}", cannot()),
    };
    let descriptor = data.fd().as_fd().try_clone_to_owned().with_context(cannot)?;
    MapData::from_fd(descriptor).with_context(cannot)
}

/// The maps as the engine asks them, one generation for all questions.
struct Asked<'a> {
    maps: &'a Reader,
    state: State,
    /// The engine knows no errors; a map that cannot be read must not look like an empty one.
    failure: RefCell<Option<MapError>>,
}

impl Asked<'_> {
    fn found<T>(&self, looked: Result<T, MapError>) -> Option<T> {
        match looked {
            Ok(value) => Some(value),
            Err(MapError::KeyNotFound | MapError::OutOfBounds { .. }) => None,
            Err(error) => {
                self.failure.replace(Some(error));
                None
            }
        }
    }
}

impl Tables for Asked<'_> {
    fn state(&self) -> State {
        self.state
    }

    fn excluded(&self) -> u32 {
        self.found(self.maps.state.get(&state::EXCLUDED, 0)).map_or(0, |State(word)| word as u32)
    }

    fn peer(&self, key: &PeerKey) -> Option<u32> {
        self.found(self.maps.peers.get(key, 0)).map(|value| value.peer)
    }

    fn profile(&self, bank: u32, peer: u32) -> Option<Profile> {
        let position = peer.checked_add(bank * MAX_PEERS)?;
        Some(self.maps.profiles.load(position))
    }

    fn class(&self, key: &DestKey) -> Option<u32> {
        self.found(self.maps.hosts.get(key, 0))
            .or_else(|| self.found(self.maps.dest.get(&Key::new(DestKey::BITS, *key), 0)))
    }

    fn ports(&self, key: &PortsKey) -> Option<PortsValue> {
        self.found(self.maps.single_ports.get(key, 0))
            .or_else(|| self.found(self.maps.ports.get(&Key::new(PortsKey::BITS, *key), 0)))
    }

    fn flow<R>(&self, _: &FlowKey, _: impl FnOnce(&mut FlowValue) -> R) -> Option<R> {
        None
    }

    fn recent<R>(&self, _: u64, _: impl FnOnce(&mut Recent) -> R) -> Option<R> {
        None
    }

    fn insert_flow(&self, _: &FlowKey, _: &FlowValue) {}

    fn remove_flow(&self, _: &FlowKey) {}

    fn fragment(&self, _: &FragmentKey) -> Option<FragmentValue> {
        None
    }

    fn insert_fragment(&self, _: &FragmentKey, _: &FragmentValue) {}

    fn usage<R>(&self, _: u32, _: impl FnOnce(&mut Usage) -> R) -> Option<R> {
        None
    }

    fn new_flow_limit(&self) -> Limit {
        Limit::NONE
    }
}
