//! What the last generations were made of.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use nexa_gateway_core::explain::Rules;
use nexa_gateway_core::model;
use nexa_types::Generation;
use nexa_wire::local::{Exclusion, PeerName};
use nexa_wire::snapshot::{Peer, Snapshot};

use crate::gateway::lock;

/// Generations that are remembered: an event is told within seconds.
const REMEMBERED: usize = 4;

/// The last generations, newest last.
#[derive(Debug, Default)]
pub struct Policies(Mutex<VecDeque<(Generation, Arc<Policy>)>>);

/// A snapshot, with what is only read out of it when somebody asks.
#[derive(Debug)]
pub struct Policy {
    snapshot: Arc<Snapshot>,
    local: Vec<IpAddr>,
    peers: OnceLock<HashMap<IpAddr, usize>>,
    rules: OnceLock<Option<Rules>>,
}

impl Policies {
    /// Remembers what a generation was made of.
    pub fn note(&self, generation: Generation, snapshot: &Arc<Snapshot>, local: &[IpAddr]) {
        let mut policies = lock(&self.0);
        let same =
            policies.back().filter(|(_, last)| Arc::ptr_eq(&last.snapshot, snapshot) && last.local == local);
        let policy = same.map_or_else(
            || Arc::new(Policy::new(Arc::clone(snapshot), local.to_vec())),
            |(_, last)| Arc::clone(last),
        );
        if policies.len() == REMEMBERED {
            policies.pop_front();
        }
        policies.push_back((generation, policy));
    }

    /// What a generation was made of, if that is remembered.
    pub fn of(&self, generation: Generation) -> Option<Arc<Policy>> {
        let policies = lock(&self.0);
        policies.iter().find(|(known, _)| *known == generation).map(|(_, policy)| Arc::clone(policy))
    }

    /// What the newest generation was made of.
    pub fn newest(&self) -> Option<Arc<Policy>> {
        lock(&self.0).back().map(|(_, policy)| Arc::clone(policy))
    }
}

impl Policy {
    fn new(snapshot: Arc<Snapshot>, local: Vec<IpAddr>) -> Self {
        Self { snapshot, local, peers: OnceLock::new(), rules: OnceLock::new() }
    }

    /// Whose an address is.
    pub fn name(&self, address: IpAddr) -> Option<PeerName> {
        let addresses =
            |(position, peer): (usize, &Peer)| peer.addresses().map(|address| (address, position));
        let peers =
            self.peers.get_or_init(|| self.snapshot.peers.iter().enumerate().flat_map(addresses).collect());
        let peer = self.snapshot.peers.get(*peers.get(&address)?)?;
        Some(PeerName { device: peer.device, name: peer.name.clone(), owner: peer.owner.clone() })
    }

    /// What an address is that no resource covers.
    pub fn exclusion(&self, address: IpAddr) -> Option<Exclusion> {
        model::exclusion(&self.snapshot.network, &self.local, address)
    }

    /// Its rules. Reading them takes a while, the first time.
    pub fn rules(&self) -> Option<&Rules> {
        // It is in force, so it can be read.
        self.rules.get_or_init(|| Rules::new(&self.snapshot, &self.local).ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_generation_is_explained_by_what_it_was_made_of() {
        let policies = Policies::default();
        let first = Arc::new(fixture::snapshot());
        let mut renamed = fixture::snapshot();
        renamed.peers[0].name = "renamed".to_owned();
        let address = first.peers[0].addresses()[0];
        policies.note(Generation(1), &first, &[]);
        policies.note(Generation(2), &first, &[]);
        policies.note(Generation(3), &Arc::new(renamed), &[]);
        let [one, two] = [1, 2].map(|generation| policies.of(Generation(generation)).unwrap());
        assert!(Arc::ptr_eq(&one, &two), "the same is read once");
        let name = |policy: Arc<Policy>| policy.name(address).unwrap().name;
        assert_eq!((name(one), name(policies.newest().unwrap())), ("laptop".into(), "renamed".into()));
        assert!(policies.newest().unwrap().name("192.0.2.1".parse().unwrap()).is_none());
        for generation in 4..=7 {
            policies.note(Generation(generation), &first, &["192.0.2.1".parse().unwrap()]);
        }
        assert!(policies.of(Generation(3)).is_none() && policies.of(Generation(4)).is_some());
    }
}
