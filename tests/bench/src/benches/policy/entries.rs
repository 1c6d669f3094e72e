//! A snapshot's rules taken apart: who may send what where, one line each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use nexa_types::{Cidr, DeviceId, GroupId, ResourceId, RuleId, UserId};
use nexa_wire::snapshot::{Effect, Resource, Rule, Snapshot, Subject, Target, Traffic};

/// One destination of one rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The rule.
    pub(super) rule: RuleId,
    /// Who.
    pub(super) who: Who,
    /// Where.
    pub(super) cidr: Cidr,
    /// What of it.
    pub(super) traffic: Traffic,
}

impl Entry {
    /// Whether some packet is spoken of by both, whoever sends it.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let ports =
            |entry: &Self| entry.traffic.ports().map_or((0, u16::MAX), |ports| (ports.first(), ports.last()));
        let (one, two) = (ports(self), ports(other));
        self.traffic.protocol() == other.traffic.protocol()
            && one.0 <= two.1
            && two.0 <= one.1
            && self.cidr.overlaps(other.cidr)
    }
}

/// Whom an entry speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Everybody.
    Everyone,
    /// Members of a group.
    Group(GroupId),
    /// One peer, by position.
    Peer(usize),
}

/// Entries, and who is meant by them.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) all: Vec<Entry>,
    /// Peers by what their groups are: those of one combination share all but private rules.
    pub(super) combinations: BTreeMap<BTreeSet<GroupId>, Vec<usize>>,
    members: HashMap<GroupId, Vec<usize>>,
    peers: usize,
}

impl Entries {
    /// Takes a snapshot apart. All its rules must have the same effect.
    pub(super) fn of(snapshot: &Snapshot, effect: Effect) -> Result<Self> {
        ensure!(snapshot.rules.iter().all(|rule| rule.effect == effect), "rules of another effect");
        let mut combinations: BTreeMap<BTreeSet<GroupId>, Vec<usize>> = BTreeMap::new();
        let mut members: HashMap<GroupId, Vec<usize>> = HashMap::new();
        for (position, peer) in snapshot.peers.iter().enumerate() {
            combinations.entry(peer.groups.iter().copied().collect()).or_default().push(position);
            for group in &peer.groups {
                members.entry(*group).or_default().push(position);
            }
        }
        let resources: HashMap<ResourceId, &Resource> =
            snapshot.resources.iter().map(|resource| (resource.id, resource)).collect();
        let named = Named::of(snapshot);
        let mut all = Vec::new();
        for rule in &snapshot.rules {
            for who in rule.who.iter().flat_map(|subject| named.meant(*subject)) {
                take(&mut all, rule, who, &resources)?;
            }
        }
        // A rule for a group without members speaks of nobody, and no packet can be made for it.
        all.retain(|entry| !matches!(entry.who, Who::Group(group) if !members.contains_key(&group)));
        Ok(Self { all, combinations, members, peers: snapshot.peers.len() })
    }

    /// A peer that an entry speaks of.
    pub(super) fn peer_of(&self, entry: &Entry, rng: &mut fastrand::Rng) -> usize {
        match entry.who {
            Who::Everyone => rng.usize(0..self.peers),
            Who::Group(group) => self.members.get(&group).and_then(|of| rng.choice(of)).copied().unwrap_or(0),
            Who::Peer(peer) => peer,
        }
    }

    /// Entries that speak of a combination of groups.
    pub(super) fn shared_by<'a>(
        &'a self,
        groups: &'a BTreeSet<GroupId>,
    ) -> impl Iterator<Item = &'a Entry> + 'a {
        self.all.iter().filter(move |entry| match entry.who {
            Who::Everyone => true,
            Who::Group(group) => groups.contains(&group),
            Who::Peer(_) => false,
        })
    }

    /// Entries of single peers.
    pub(super) fn private(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.all.iter().filter_map(|entry| match entry.who {
            Who::Peer(peer) => Some((peer, entry)),
            Who::Everyone | Who::Group(_) => None,
        })
    }
}

/// Peers by what names them alone.
struct Named {
    devices: HashMap<DeviceId, usize>,
    users: HashMap<UserId, Vec<usize>>,
}

impl Named {
    fn of(snapshot: &Snapshot) -> Self {
        let mut named = Self { devices: HashMap::new(), users: HashMap::new() };
        for (position, peer) in snapshot.peers.iter().enumerate() {
            named.devices.insert(peer.device, position);
            named.users.entry(peer.user).or_default().push(position);
        }
        named
    }

    fn meant(&self, subject: Subject) -> Vec<Who> {
        match subject {
            Subject::Everyone => vec![Who::Everyone],
            Subject::Group(group) => vec![Who::Group(group)],
            Subject::User(user) => {
                self.users.get(&user).into_iter().flatten().copied().map(Who::Peer).collect()
            }
            Subject::Device(device) => {
                self.devices.get(&device).copied().map(Who::Peer).into_iter().collect()
            }
        }
    }
}

fn take(
    all: &mut Vec<Entry>,
    rule: &Rule,
    who: Who,
    resources: &HashMap<ResourceId, &Resource>,
) -> Result<()> {
    for target in &rule.what {
        let Target::Resource(id) = target;
        let resource = resources.get(id).context("a rule names a resource that is not there")?;
        for cidr in &resource.cidrs {
            let entry = |traffic: &Traffic| Entry { rule: rule.id, who, cidr: *cidr, traffic: *traffic };
            all.extend(resource.traffic.iter().map(entry));
        }
    }
    Ok(())
}
