//! Parts of a snapshot, beside those that are known already.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use nexa_policy::Compiler;
use nexa_policy::compile::Change;
use nexa_types::{DeviceId, ResourceId, RuleId};
use nexa_wire::delta::Delta;
use nexa_wire::snapshot::{Network, Peer, Resource, Rule, Snapshot, Target};

use super::{ModelError, Roll};

/// What is new or has changed, and what is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    pub peers: &'a [Peer],
    pub gone_peers: &'a [DeviceId],
    pub resources: &'a [Resource],
    pub gone_resources: &'a [ResourceId],
    pub rules: &'a [Rule],
    pub gone_rules: &'a [RuleId],
}

impl<'a> From<&'a Delta> for Parts<'a> {
    fn from(delta: &'a Delta) -> Self {
        let Delta { peers, gone_peers, resources, gone_resources, rules, gone_rules } = delta;
        Self { peers, gone_peers, resources, gone_resources, rules, gone_rules }
    }
}

impl Parts<'_> {
    /// Reads them in the policy's own terms, if they contradict neither each other nor what they leave of what is known.
    ///
    /// # Errors
    /// [`ModelError`], naming the first contradiction found.
    pub fn check(&self, network: &Network, known: &Compiler, roll: &Roll) -> Result<Change, ModelError> {
        self.check_peers(network, roll)?;
        self.check_resources(known)?;
        self.check_rules(known)?;
        let mut change = Change::from_nothing(
            self.peers.iter().map(super::peer),
            self.resources.iter().map(|resource| (resource.id, super::resource(resource))),
            self.rules.iter().map(super::rule),
        );
        change.peers.extend(self.gone_peers.iter().map(|id| (*id, None)));
        change.resources.extend(self.gone_resources.iter().map(|id| (*id, None)));
        change.rules.extend(self.gone_rules.iter().map(|id| (*id, None)));
        Ok(change)
    }

    fn check_peers(&self, network: &Network, roll: &Roll) -> Result<(), ModelError> {
        let own: [IpAddr; 2] = [network.tunnel_v4.into(), network.tunnel_v6.into()];
        let proxy = [network.proxy_v4.map(IpAddr::from), network.proxy_v6.map(IpAddr::from)];
        let devices =
            distinct(self.peers.iter().map(|peer| peer.device).chain(self.gone_peers.iter().copied()))
                .map_err(ModelError::DeviceTwice)?;
        let stays = |device: &DeviceId| !devices.contains(device);
        let mut addresses = HashSet::new();
        let mut keys = HashSet::new();
        for peer in self.peers {
            for address in peer.addresses() {
                let in_pool = network.pool_v4.contains(address) || network.pool_v6.contains(address);
                if !in_pool || own.contains(&address) || proxy.contains(&Some(address)) {
                    return Err(ModelError::AddressForeign(address));
                }
                if !addresses.insert(address) || roll.by_address(address).filter(stays).is_some() {
                    return Err(ModelError::AddressTwice(address));
                }
            }
            if !keys.insert(peer.public_key) || roll.by_key(peer.public_key).filter(stays).is_some() {
                return Err(ModelError::KeyTwice(peer.public_key));
            }
        }
        Ok(())
    }

    fn check_resources(&self, known: &Compiler) -> Result<(), ModelError> {
        for resource in self.resources {
            let nowhere = resource.cidrs.is_empty() && resource.devices.is_empty();
            if nowhere || resource.traffic.is_empty() {
                return Err(ModelError::EmptyList(format!("resource {}", resource.name)));
            }
        }
        let ids = self.resources.iter().map(|resource| resource.id);
        distinct(ids.chain(self.gone_resources.iter().copied())).map_err(ModelError::ResourceTwice)?;
        if self.gone_resources.is_empty() {
            return Ok(());
        }
        let rules: HashSet<RuleId> =
            self.rules.iter().map(|rule| rule.id).chain(self.gone_rules.iter().copied()).collect();
        for resource in self.gone_resources {
            if let Some(rule) = known.rules_naming(*resource).find(|rule| !rules.contains(rule)) {
                return Err(ModelError::UnknownResource { rule, resource: *resource });
            }
        }
        Ok(())
    }

    fn check_rules(&self, known: &Compiler) -> Result<(), ModelError> {
        let ids = self.rules.iter().map(|rule| rule.id);
        let ids = distinct(ids.chain(self.gone_rules.iter().copied())).map_err(ModelError::RuleNumber)?;
        if ids.contains(&RuleId(0)) {
            return Err(ModelError::RuleNumber(RuleId(0)));
        }
        let new: HashSet<ResourceId> = self.resources.iter().map(|resource| resource.id).collect();
        let gone: HashSet<ResourceId> = self.gone_resources.iter().copied().collect();
        let exists = |id| new.contains(id) || known.resources().contains_key(id) && !gone.contains(id);
        for rule in self.rules {
            if rule.who.is_empty() || rule.what.is_empty() {
                return Err(ModelError::EmptyList(format!("rule {}", rule.id)));
            }
            let named = rule.what.iter().map(|Target::Resource(id)| id);
            if let Some(resource) = named.into_iter().find(|id| !exists(id)) {
                return Err(ModelError::UnknownResource { rule: rule.id, resource: *resource });
            }
        }
        Ok(())
    }
}

/// From what is known to a snapshot. Names are no difference: no packet is decided by them.
///
/// # Errors
/// [`ModelError`], where an id is there twice: of one of them it could not be said whether it is different.
pub fn difference(known: &Compiler, roll: &Roll, snapshot: &Snapshot) -> Result<Delta, ModelError> {
    let peers = distinct(snapshot.peers.iter().map(|peer| peer.device)).map_err(ModelError::DeviceTwice)?;
    let resources =
        distinct(snapshot.resources.iter().map(|resource| resource.id)).map_err(ModelError::ResourceTwice)?;
    let rules = distinct(snapshot.rules.iter().map(|rule| rule.id)).map_err(ModelError::RuleNumber)?;

    let new_peer = |peer: &&Peer| {
        roll.get(peer.device) != Some(&(*peer).into())
            || known.peers().get(&peer.device) != Some(&super::peer(peer))
    };
    let new_resource =
        |resource: &&Resource| known.resources().get(&resource.id) != Some(&super::resource(resource));
    let new_rule = |rule: &&Rule| known.rules().get(&rule.id) != Some(&super::rule(rule));
    Ok(Delta {
        peers: snapshot.peers.iter().filter(new_peer).cloned().collect(),
        gone_peers: roll.devices().filter(|id| !peers.contains(id)).collect(),
        resources: snapshot.resources.iter().filter(new_resource).cloned().collect(),
        gone_resources: known.resources().keys().filter(|id| !resources.contains(id)).copied().collect(),
        rules: snapshot.rules.iter().filter(new_rule).cloned().collect(),
        gone_rules: known.rules().keys().filter(|id| !rules.contains(id)).copied().collect(),
    })
}

/// All of them, or the first that is there twice.
fn distinct<T: Copy + Eq + Hash>(ids: impl Iterator<Item = T>) -> Result<HashSet<T>, T> {
    let mut seen = HashSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(id);
        }
    }
    Ok(seen)
}
