//! From a policy to the entries of the BPF maps, as they are to be from an instant on.
//!
//! What was lowered stays, and a change lowers what it touches. Sets and classes go by the numbers of the compiler; those in
//! the maps are given out by [`crate::install`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nexa_abi::layout::{DestKey, EMPTY_CLASS, Family, MAX_PEERS, MAX_RULES, PeerKey};
use nexa_policy::Compiler;
use nexa_policy::compile::{Change, ClassId, CompiledPeer, Expansion, SetId, Touched};
use nexa_policy::model::IMPLICIT;
use nexa_types::{Cidr, DeviceId, RuleId};
use nexa_wire::delta::Delta;
use nexa_wire::snapshot::{Network, Snapshot};

use crate::model::{self, ModelError, Roll};

mod classes;
mod ports;

pub use self::classes::MAX_WORDS;
use self::classes::{Classes, Limits};
pub use self::ports::PortsEntry;

/// Most entries of one policy in each of the two tries; they hold as many again, for the policy that follows.
pub const MAX_ENTRIES: usize = 1 << 20;

/// Why a snapshot cannot be enforced. Nothing of it is then used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// It says what is different, and nothing is known.
    #[error("a change came before any snapshot; ask for one")]
    NoSnapshot,
    /// It contradicts itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More peers than there are indexes.
    #[error(
        "{0} devices are more than the {MAX_PEERS} that one gateway serves; move some to another network"
    )]
    Peers(usize),
    /// More rules than are counted apart.
    #[error("{0} rules are more than the {MAX_RULES} that one gateway counts; merge some")]
    Rules(usize),
    /// Rules come to more than is compiled.
    #[error(transparent)]
    Expansion(#[from] Expansion),
    /// More prefixes or ports than the maps hold.
    #[error(
        "policy needs {needed} {map} entries, more than the {MAX_ENTRIES} that the map holds; rule {rule} alone takes \
         {by_rule}: merge its prefixes or port ranges"
    )]
    Entries {
        /// The map.
        map: &'static str,
        /// What it would have to hold.
        needed: usize,
        /// The rule that takes most.
        rule: RuleId,
        /// How many.
        by_rule: usize,
    },
    /// Rules of more different times speak of the same than is worked out.
    #[error(
        "rules with {times} different times speak of the same prefixes in too many ranges of ports, rule {rule} the first of \
         them: give rules of one destination the same windows and dates, or fewer ranges"
    )]
    Times {
        /// The lowest of them.
        rule: RuleId,
        /// How many times.
        times: usize,
    },
}

/// A policy as map entries.
///
/// It may be followed in steps: [`Self::touched_since`] tells who knew an edition what is different in the next.
#[derive(Debug)]
pub struct Lowered {
    edition: Edition,
    /// What came with it.
    touched: Touched,
    /// What everything was compiled with; none before the first snapshot.
    basis: Option<(Network, Vec<IpAddr>)>,
    compiler: Compiler,
    roll: Roll,
    classes: Classes,
    /// What a refused change has touched, to be followed with what undoes it.
    unfinished: Touched,
}

/// One state of a [`Lowered`], and no state of another one.
#[derive(Clone, Debug, Default)]
pub struct Edition {
    of: Arc<()>,
    number: u64,
}

/// A device, its addresses and its two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoweredPeer {
    /// Its addresses, one of each family.
    pub addresses: [PeerKey; 2],
    /// Its sets.
    pub sets: CompiledPeer,
    /// When it stops being served.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A prefix of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestEntry {
    /// Bits of the whole key.
    pub prefix_bits: u32,
    /// Part of the key.
    pub family: Family,
    /// IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// The class, by its number in the maps.
    pub class: u32,
}

/// Lowers a snapshot as it is at an instant. `local` are the gateway's own addresses, which no resource covers.
///
/// # Errors
/// [`LowerError`]; a policy is lowered whole or not at all.
pub fn lower(snapshot: &Snapshot, local: &[IpAddr], at: DateTime<Utc>) -> Result<Lowered, LowerError> {
    let mut lowered = Lowered::default();
    lowered.set(snapshot, local, at)?;
    Ok(lowered)
}

impl Default for Lowered {
    /// A policy without peers.
    fn default() -> Self {
        Self {
            edition: Edition::default(),
            touched: Touched::default(),
            basis: None,
            compiler: Compiler::new(&[], Vec::new()),
            roll: Roll::default(),
            classes: Classes::default(),
            unfinished: Touched::default(),
        }
    }
}

impl Lowered {
    /// Makes it the policy of a snapshot as it is at an instant. `local` are the gateway's own addresses, which no resource
    /// covers. A snapshot of the same network costs comparing it, and then what is different.
    ///
    /// The entries may be used at any later time: they never admit what the rules then refuse. What rules that begin later
    /// allow is not in them, so the policy is to be set anew at [`Self::next_change`].
    ///
    /// # Errors
    /// [`LowerError`]; the policy is then what it was.
    pub fn set(
        &mut self,
        snapshot: &Snapshot,
        local: &[IpAddr],
        at: DateTime<Utc>,
    ) -> Result<(), LowerError> {
        if self.basis.as_ref().is_some_and(|(network, own)| *network == snapshot.network && own == local) {
            let delta = model::difference(&self.compiler, &self.roll, snapshot)?;
            return self.change(&delta, at);
        }
        let Snapshot { network, peers, resources, rules } = snapshot;
        let mut fresh = Self {
            compiler: Compiler::new(&model::implicit(network), model::excluded(network, local)),
            basis: Some((network.clone(), local.to_vec())),
            ..Self::default()
        };
        let everything = model::Parts { peers, resources, rules, ..model::Parts::default() };
        fresh.make(everything, at)?;
        *self = fresh;
        Ok(())
    }

    /// Makes a change to the policy of the last snapshot that was [set](Self::set).
    ///
    /// # Errors
    /// As for [`Self::set`].
    pub fn change(&mut self, delta: &Delta, at: DateTime<Utc>) -> Result<(), LowerError> {
        self.make(delta.into(), at)
    }

    fn make(&mut self, parts: model::Parts<'_>, at: DateTime<Utc>) -> Result<(), LowerError> {
        let change = self.check(&parts)?;
        let inverse = match self.compiler.apply(change) {
            Ok(inverse) => inverse,
            Err(error) => {
                self.follow(at, Limits::NONE)?;
                return Err(error.into());
            }
        };
        // Until what goes is gone, there may be as many again as there may be.
        let limits = Limits { entries: 2 * MAX_ENTRIES, words: MAX_WORDS };
        if let Err(error) = self.follow(at, limits).and_then(|()| self.check_entries()) {
            // What was in force before fits.
            self.compiler.undo(inverse);
            self.follow(at, Limits::NONE)?;
            return Err(error);
        }
        self.roll.change(parts.peers, parts.gone_peers);
        Ok(())
    }

    fn check(&self, parts: &model::Parts<'_>) -> Result<Change, LowerError> {
        let Some((network, _)) = &self.basis else { return Err(LowerError::NoSnapshot) };
        let change = parts.check(network, &self.compiler, &self.roll)?;
        let peers = change.count_peers(&self.compiler);
        if peers > MAX_PEERS as usize {
            return Err(LowerError::Peers(peers));
        }
        let rules = change.count_rules(&self.compiler);
        if rules > MAX_RULES as usize {
            return Err(LowerError::Rules(rules));
        }
        Ok(change)
    }

    /// Lowers what the compiler has touched, and what is due.
    fn follow(&mut self, at: DateTime<Utc>, limits: Limits) -> Result<(), LowerError> {
        let mut touched = std::mem::take(&mut self.unfinished);
        touched.extend(self.compiler.take_touched());
        touched.retimed.extend(self.classes.due(at));
        let ids = touched.classes.union(&touched.retimed).copied();
        let outcome = self.classes.lower(&self.compiler, ids, at, limits);
        if outcome.is_err() {
            self.unfinished = touched;
        } else {
            self.touched = touched;
            self.edition.number += 1;
        }
        outcome
    }

    fn check_entries(&self) -> Result<(), LowerError> {
        let prefixes = self.compiler.prefixes();
        if prefixes > MAX_ENTRIES {
            let (rule, by_rule) = self.compiler.widest_rule().unwrap_or((IMPLICIT, 0));
            return Err(LowerError::Entries { map: "prefix", needed: prefixes, rule, by_rule });
        }
        if self.classes.entries() > MAX_ENTRIES {
            return Err(self.classes.too_many());
        }
        Ok(())
    }

    /// When to set the same policy anew, because a rule begins or ends to speak; nothing where never.
    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        self.classes.next_change()
    }

    /// Which state of which policy this is.
    pub fn edition(&self) -> Edition {
        self.edition.clone()
    }

    /// What is to be looked at again by who knows an earlier edition; none where that is too old, or of another policy.
    pub fn touched_since(&self, known: &Edition) -> Option<Touched> {
        let steps = self
            .edition
            .number
            .checked_sub(known.number)
            .filter(|_| Arc::ptr_eq(&self.edition.of, &known.of));
        match steps? {
            0 => Some(Touched::default()),
            1 => Some(self.touched.clone()),
            _ => None,
        }
    }

    /// All that there is.
    pub fn everything(&self) -> Touched {
        Touched {
            sets: self.compiler.sets().collect(),
            classes: self.compiler.classes().collect(),
            retimed: BTreeSet::new(),
            peers: self.compiler.peers().keys().copied().collect(),
            rules: self.compiler.rules().keys().copied().collect(),
        }
    }

    /// A device; none where it may not connect.
    pub fn peer(&self, device: DeviceId) -> Option<LoweredPeer> {
        let sets = self.compiler.peer(device)?;
        let entry = self.roll.get(device)?;
        Some(LoweredPeer { addresses: entry.addresses.map(peer_key), sets, expires_at: entry.expires_at })
    }

    /// Rules, those too that decide nothing.
    pub fn rule_count(&self) -> usize {
        self.compiler.rules().len()
    }

    /// Whether there is such a rule.
    pub fn has_rule(&self, rule: RuleId) -> bool {
        self.compiler.rules().contains_key(&rule)
    }

    /// A class as entries; none where nothing is granted.
    pub fn class(&self, id: ClassId) -> Arc<[PortsEntry]> {
        self.classes.get(id)
    }

    /// A set as entries, `number` being the numbers of classes in the maps; none where nothing is granted.
    pub fn set_entries(&self, id: SetId, number: impl Fn(ClassId) -> u32) -> Arc<[DestEntry]> {
        let prefixes = self.compiler.set(id).map(|set| set.iter());
        prefixes.into_iter().flatten().map(|(cidr, class)| dest_entry(cidr, number(class))).collect()
    }

    /// What no resource covers, as entries of a set in which nothing is granted.
    pub fn excluded(&self) -> Arc<[DestEntry]> {
        let excluded = self.compiler.excluded();
        let is_widest = |cidr: &&Cidr| !excluded.iter().any(|wide| wide != *cidr && wide.covers(**cidr));
        let widest: BTreeSet<&Cidr> = excluded.iter().filter(is_widest).collect();
        widest.into_iter().map(|cidr| dest_entry(*cidr, EMPTY_CLASS)).collect()
    }

    /// Sets with any of some classes.
    pub fn sets_with<'a>(&'a self, classes: &'a BTreeSet<ClassId>) -> impl Iterator<Item = SetId> + 'a {
        let has = |id: &SetId| {
            self.compiler.set(*id).is_some_and(|set| set.iter().any(|(_, class)| classes.contains(&class)))
        };
        self.compiler.sets().filter(has)
    }
}

/// The key of an address in the PEERS map.
pub fn peer_key(address: IpAddr) -> PeerKey {
    let (family, address) = family_and_bytes(address);
    PeerKey { family: family as u32, address }
}

fn family_and_bytes(address: IpAddr) -> (Family, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (Family::V4, bytes)
        }
        IpAddr::V6(v6) => (Family::V6, v6.octets()),
    }
}

fn dest_entry(cidr: Cidr, class: u32) -> DestEntry {
    let net = cidr.net();
    let (family, address) = family_and_bytes(net.addr());
    DestEntry { prefix_bits: DestKey::FIXED_BITS + u32::from(net.prefix_len()), family, address, class }
}
