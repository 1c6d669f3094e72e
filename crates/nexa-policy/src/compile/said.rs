//! What a rule says of which prefixes.

use std::collections::BTreeSet;

use nexa_types::{Cidr, DeviceId};

use super::Grant;
use super::tables::Tables;
use crate::model::{Effect, IMPLICIT, Implicit, Rule};

/// A rule's grants, each with the prefix that it is said of.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Sorted and without repetition.
    grants: Vec<(Cidr, Grant)>,
    prefixes: usize,
}

impl Said {
    /// Says a rule, whoever it speaks of.
    pub fn by_rule(rule: &Rule, tables: &Tables) -> Self {
        let grant = |traffic, named| Grant { effect: rule.effect, rule: rule.id, traffic, named };
        let mut grants = Vec::new();
        for resource in rule.what.iter().filter_map(|id| tables.resources.get(id)) {
            let mut say = |cidr, named| {
                grants.extend(resource.traffic.iter().map(|traffic| (cidr, grant(*traffic, named))));
            };
            for cidr in &resource.cidrs {
                say(*cidr, false);
            }
            let members = resource.devices.iter().filter_map(|subject| tables.members.get(subject)).flatten();
            let devices: BTreeSet<&DeviceId> = members.collect();
            for address in
                devices.iter().filter_map(|id| tables.peers.get(id)).flat_map(|peer| &peer.addresses)
            {
                say(Cidr::host(*address), true);
            }
        }
        Self::new(grants)
    }

    /// Says what holds without a rule.
    pub fn without_rule(implicit: &[Implicit]) -> Self {
        let grant = |Implicit { cidr, traffic }: &Implicit| {
            (*cidr, Grant { effect: Effect::Allow, rule: IMPLICIT, traffic: *traffic, named: true })
        };
        Self::new(implicit.iter().map(grant).collect())
    }

    fn new(mut grants: Vec<(Cidr, Grant)>) -> Self {
        grants.sort_unstable();
        grants.dedup();
        let prefixes = grants.chunk_by(|(one, _), (next, _)| one == next).count();
        Self { grants, prefixes }
    }

    /// Sorted and without repetition.
    pub fn grants(&self) -> &[(Cidr, Grant)] {
        &self.grants
    }

    /// Of how many prefixes something is said.
    pub const fn prefixes(&self) -> usize {
        self.prefixes
    }
}
