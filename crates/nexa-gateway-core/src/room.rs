//! Whether a swap fits into the maps, found before anything of it is written.

use nexa_abi::layout::map;

use crate::install::{Installer, Plan};

/// Entries that the maps have room for, or that are in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In PEERS.
    pub peers: usize,
    /// In DEST.
    pub dest: usize,
    /// In PORTS.
    pub ports: usize,
}

/// Why a policy is not put in force although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy and the one in force together need {needed} entries of {map}, which has {capacity}; merge rules, \
     prefixes or port ranges, or give the gateway larger maps"
)]
pub struct Overflow {
    /// The map.
    pub map: &'static str,
    /// What it would have to hold at one time.
    pub needed: usize,
    /// What it holds.
    pub capacity: usize,
}

/// Checks that both generations fit beside each other, and beside what still waits for its deletion. `planned` is the
/// installer that has planned `plan`.
///
/// # Errors
/// [`Overflow`], naming the first map that is too small.
pub fn check(planned: &Installer, plan: &Plan, waiting: Room, capacity: Room) -> Result<(), Overflow> {
    let after = planned.room();
    // What is there before and not after is what the plan deletes.
    for (map, needed, capacity) in [
        (map::PEERS, after.peers + plan.delete_peers.len() + waiting.peers, capacity.peers),
        (map::DEST, after.dest + plan.delete_dest.len() + waiting.dest, capacity.dest),
        (map::PORTS, after.ports + plan.delete_ports.len() + waiting.ports, capacity.ports),
    ] {
        if needed > capacity {
            return Err(Overflow { map, needed, capacity });
        }
    }
    Ok(())
}
