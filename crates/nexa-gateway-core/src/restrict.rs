//! What is left of the policy in force when the one that should follow it does not fit into the maps.
//!
//! A policy that is refused as a whole must not keep in force what it takes away. So the one in force is narrowed to what
//! both allow. What the new one adds waits until it fits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nexa_types::{Cidr, DeviceId, GroupId, PortRange, Protocol, ResourceId, RuleId, When};
use nexa_wire::snapshot::{Effect, Network, Peer, Resource, Rule, Snapshot, Subject, Target, Traffic};
use uuid::Uuid;

/// A policy that allows nothing that `old` or `new` does not allow.
///
/// Devices, memberships and allow rules stay as far as both have them, denies of both stay. A rule whose number stands for
/// something else now is narrowed if it allows, and widened if it denies.
pub fn restrict(old: &Snapshot, new: &Snapshot) -> Snapshot {
    let mut restricted =
        Snapshot { peers: Vec::new(), resources: Vec::new(), rules: Vec::new(), ..old.clone() };
    if !is_same_place(&old.network, &new.network) {
        return restricted;
    }
    let kept: Vec<(&Peer, &Peer)> = in_both(old, new).collect();
    let groups = Groups::of(&kept, [old, new]);
    restricted.peers = kept.iter().map(|(old, new)| groups.narrowed(old, new)).collect();
    let mut resources = Resources::new([old, new]);
    restricted.rules = allows(old, new, &mut resources);
    restricted.rules.extend(denies(old, new, &groups, &mut resources));
    restricted.resources = resources.placed;
    restricted
}

/// The devices of `old` from which `new` might take something. Without them `old` allows nothing that `new` does not
/// allow, as far as both know a device.
pub fn affected(old: &Snapshot, new: &Snapshot) -> BTreeSet<DeviceId> {
    if !is_same_place(&old.network, &new.network) {
        return old.peers.iter().map(|peer| peer.device).collect();
    }
    let same: HashSet<DeviceId> =
        in_both(old, new).filter(|(old, new)| is_as_free(old, new)).map(|(old, _)| old.device).collect();
    let lost = changed(old, new, |_| true);
    let denied = changed(new, old, |rule| rule.effect == Effect::Deny);
    let subjects: HashSet<Subject> = lost.chain(denied).flat_map(|rule| rule.who.iter().copied()).collect();
    let is_meant = |peer: &Peer| {
        [Subject::Everyone, Subject::User(peer.user), Subject::Device(peer.device)]
            .into_iter()
            .chain(peer.groups.iter().copied().map(Subject::Group))
            .any(|subject| subjects.contains(&subject))
    };
    let is_affected = |peer: &&Peer| !same.contains(&peer.device) || is_meant(peer);
    old.peers.iter().filter(is_affected).map(|peer| peer.device).collect()
}

/// Whether everything that is not in rules is where it was: pools, and what every device may reach.
fn is_same_place(old: &Network, new: &Network) -> bool {
    let place = |network: &Network| {
        let Network { gateway, pool_v4, pool_v6, tunnel_v4, tunnel_v6, proxy_v4, proxy_v6, .. } = *network;
        (gateway, pool_v4, pool_v6, tunnel_v4, tunnel_v6, proxy_v4, proxy_v6)
    };
    place(old) == place(new)
}

/// Devices that both know under the same key, addresses and owner.
fn in_both<'a>(old: &'a Snapshot, new: &'a Snapshot) -> impl Iterator<Item = (&'a Peer, &'a Peer)> {
    let by_device: HashMap<DeviceId, &Peer> = new.peers.iter().map(|peer| (peer.device, peer)).collect();
    let identity = |peer: &Peer| (peer.user, peer.public_key, peer.v4, peer.v6);
    old.peers.iter().filter_map(move |peer| {
        let now = *by_device.get(&peer.device)?;
        (identity(now) == identity(peer)).then_some((peer, now))
    })
}

fn is_as_free(old: &Peer, new: &Peer) -> bool {
    let groups = |peer: &Peer| peer.groups.iter().copied().collect::<BTreeSet<_>>();
    groups(old) == groups(new) && old.expires_at == new.expires_at
}

/// The rules of `of` that `than` does not have with the same content, resources included.
fn changed<'a>(
    of: &'a Snapshot,
    than: &'a Snapshot,
    which: impl Fn(&Rule) -> bool + 'a,
) -> impl Iterator<Item = &'a Rule> {
    let rules: HashMap<RuleId, &Rule> = than.rules.iter().map(|rule| (rule.id, rule)).collect();
    let [ours, theirs] = [of, than].map(by_id);
    of.rules.iter().filter(move |rule| which(rule)).filter(move |rule| {
        let same_what = |Target::Resource(id): &Target| ours.get(id) == theirs.get(id);
        rules.get(&rule.id) != Some(rule) || !rule.what.iter().all(same_what)
    })
}

fn by_id(snapshot: &Snapshot) -> HashMap<ResourceId, &Resource> {
    snapshot.resources.iter().map(|resource| (resource.id, resource)).collect()
}

/// Memberships of two policies. An allow is for who is a member in both, a deny for who is one in either.
struct Groups {
    /// For denies: another group in place of each whose members differ.
    either: BTreeMap<GroupId, GroupId>,
}

impl Groups {
    fn of(kept: &[(&Peer, &Peer)], snapshots: [&Snapshot; 2]) -> Self {
        let differing: BTreeSet<GroupId> = kept
            .iter()
            .flat_map(|(old, new)| {
                let [old, new] = [old, new].map(|peer| peer.groups.iter().copied().collect::<BTreeSet<_>>());
                old.symmetric_difference(&new).copied().collect::<Vec<_>>()
            })
            .collect();
        let used = snapshots.into_iter().flat_map(|snapshot| {
            let in_rules = snapshot.rules.iter().flat_map(|rule| &rule.who);
            let in_resources = snapshot.resources.iter().flat_map(|resource| &resource.devices);
            let named = in_rules.chain(in_resources).filter_map(|subject| match subject {
                Subject::Group(group) => Some(*group),
                Subject::Everyone | Subject::User(_) | Subject::Device(_) => None,
            });
            named.chain(snapshot.peers.iter().flat_map(|peer| peer.groups.iter().copied()))
        });
        let mut fresh = Fresh::beside(used.map(|group| group.0));
        Self { either: differing.into_iter().map(|group| (group, GroupId(fresh.next()))).collect() }
    }

    fn narrowed(&self, old: &Peer, new: &Peer) -> Peer {
        let both = old.groups.iter().copied().filter(|group| new.groups.contains(group));
        let either =
            self.either.iter().filter(|(group, _)| old.groups.contains(group) || new.groups.contains(group));
        let expires_at = match (old.expires_at, new.expires_at) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        Peer { groups: both.chain(either.map(|(_, group)| *group)).collect(), expires_at, ..old.clone() }
    }

    /// Whom a deny means.
    fn denied(&self, subjects: &[Subject]) -> Vec<Subject> {
        let either = |subject: &Subject| match subject {
            Subject::Group(group) => Subject::Group(self.either.get(group).copied().unwrap_or(*group)),
            Subject::Everyone | Subject::User(_) | Subject::Device(_) => *subject,
        };
        subjects.iter().map(either).collect()
    }
}

/// Resources of the policy that is made. One id may stand for several things: for an allow and a deny, old and new.
struct Resources {
    placed: Vec<Resource>,
    /// Positions of what had an id.
    by_id: HashMap<ResourceId, Vec<usize>>,
    fresh: Fresh,
}

impl Resources {
    fn new(snapshots: [&Snapshot; 2]) -> Self {
        let used =
            snapshots.into_iter().flat_map(|snapshot| &snapshot.resources).map(|resource| resource.id.0);
        Self { placed: Vec::new(), by_id: HashMap::new(), fresh: Fresh::beside(used) }
    }

    /// Takes a resource in; the first of an id keeps it.
    fn place(&mut self, resource: Resource) -> Target {
        let Self { placed, by_id, fresh } = self;
        let positions = by_id.entry(resource.id).or_default();
        let is_it = |there: &Resource| Resource { id: resource.id, ..there.clone() } == resource;
        if let Some(position) = positions.iter().find(|position| is_it(&placed[**position])) {
            return Target::Resource(placed[*position].id);
        }
        let id = if positions.is_empty() { resource.id } else { ResourceId(fresh.next()) };
        positions.push(placed.len());
        placed.push(Resource { id, ..resource });
        Target::Resource(id)
    }
}

/// Ids that nothing has.
struct Fresh {
    used: HashSet<Uuid>,
    last: u128,
}

impl Fresh {
    fn beside(used: impl Iterator<Item = Uuid>) -> Self {
        Self { used: used.collect(), last: 0 }
    }

    fn next(&mut self) -> Uuid {
        loop {
            self.last += 1;
            let id = Uuid::from_u128(self.last);
            if self.used.insert(id) {
                return id;
            }
        }
    }
}

fn allows(old: &Snapshot, new: &Snapshot, resources: &mut Resources) -> Vec<Rule> {
    let [of_old, of_new] = [old, new].map(by_id);
    let now: HashMap<RuleId, &Rule> = new.rules.iter().map(|rule| (rule.id, rule)).collect();
    let narrowed = |rule: &Rule| {
        let now = now.get(&rule.id)?;
        if now.effect != Effect::Allow || now.when != rule.when {
            return None;
        }
        let who: Vec<Subject> =
            rule.who.iter().copied().filter(|subject| now.who.contains(subject)).collect();
        let in_both = rule.what.iter().filter(|target| now.what.contains(target));
        let what: Vec<Target> = in_both
            .filter_map(|Target::Resource(id)| narrow(of_old.get(id)?, of_new.get(id)?))
            .map(|resource| resources.place(resource))
            .collect();
        (!who.is_empty() && !what.is_empty()).then(|| Rule { who, what, ..rule.clone() })
    };
    old.rules.iter().filter(|rule| rule.effect == Effect::Allow).filter_map(narrowed).collect()
}

fn denies(old: &Snapshot, new: &Snapshot, groups: &Groups, resources: &mut Resources) -> Vec<Rule> {
    let mut rules: BTreeMap<RuleId, Rule> = BTreeMap::new();
    for snapshot in [old, new] {
        let by_id = by_id(snapshot);
        for rule in snapshot.rules.iter().filter(|rule| rule.effect == Effect::Deny) {
            let named = rule.what.iter().filter_map(|Target::Resource(id)| by_id.get(id));
            let what: Vec<Target> = named
                .map(|resource| Resource { devices: groups.denied(&resource.devices), ..(*resource).clone() })
                .map(|resource| resources.place(resource))
                .collect();
            let who = groups.denied(&rule.who);
            match rules.get_mut(&rule.id) {
                // A number is one rule's. What both say is denied together.
                Some(both) => {
                    if both.when != rule.when {
                        both.when = When::default();
                    }
                    extend(&mut both.who, who);
                    extend(&mut both.what, what);
                }
                None => drop(rules.insert(rule.id, Rule { who, what, ..rule.clone() })),
            }
        }
    }
    rules.into_values().collect()
}

fn extend<T: PartialEq>(list: &mut Vec<T>, with: Vec<T>) {
    for item in with {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// What two resources of the same id both are; nothing where that is empty.
fn narrow(old: &Resource, new: &Resource) -> Option<Resource> {
    if (&old.cidrs, &old.devices, &old.traffic) == (&new.cidrs, &new.devices, &new.traffic) {
        return Some(old.clone());
    }
    let devices = old.devices.iter().copied().filter(|subject| new.devices.contains(subject)).collect();
    let cidrs = pairs(&old.cidrs, &new.cidrs, common_prefix);
    let traffic = pairs(&old.traffic, &new.traffic, common_traffic);
    let narrowed = Resource { cidrs, devices, traffic, ..old.clone() };
    let is_somewhere = !narrowed.cidrs.is_empty() || !narrowed.devices.is_empty();
    (is_somewhere && !narrowed.traffic.is_empty()).then_some(narrowed)
}

fn pairs<T: Copy + Ord>(old: &[T], new: &[T], common: impl Fn(T, T) -> Option<T>) -> Vec<T> {
    let of_one = |one: T| new.iter().map(move |other| (one, *other));
    let met: BTreeSet<T> = old.iter().copied().flat_map(of_one).filter_map(|(a, b)| common(a, b)).collect();
    met.into_iter().collect()
}

fn common_prefix(old: Cidr, new: Cidr) -> Option<Cidr> {
    if old.covers(new) { Some(new) } else { new.covers(old).then_some(old) }
}

fn common_traffic(old: Traffic, new: Traffic) -> Option<Traffic> {
    use nexa_abi::packet::{ICMP, ICMPV6, TCP, UDP};
    match (old.protocol(), new.protocol()) {
        (Protocol::Any, _)
        | (Protocol::Tcp, Protocol::Number(TCP))
        | (Protocol::Udp, Protocol::Number(UDP)) => {
            Some(if old.protocol() == Protocol::Any { new } else { old })
        }
        (Protocol::Number(ICMP | ICMPV6), Protocol::Icmp) | (_, Protocol::Any) => Some(old),
        (Protocol::Icmp, Protocol::Number(ICMP | ICMPV6))
        | (Protocol::Number(TCP), Protocol::Tcp)
        | (Protocol::Number(UDP), Protocol::Udp) => Some(new),
        (one, other) if one == other => match (old.ports(), new.ports()) {
            (Some(a), Some(b)) => {
                let ports = PortRange::new(a.first().max(b.first()), a.last().min(b.last())).ok()?;
                Traffic::new(one, Some(ports)).ok()
            }
            _ => Some(old),
        },
        _ => None,
    }
}
