//! What only generations before referred to, until it is deleted.
//!
//! Deleting a large policy takes longer than a change may have to wait. So it is done in slices, and between two of them a
//! new policy may come into force. Sets and classes never get a number twice: what waits here is nobody's for good.
//! Addresses may be given again, and are then no longer to be deleted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nexa_abi::layout::{DestKey, PeerKey, PeerValue, PortsKey};
use nexa_gateway_core::install::Patch;
use nexa_gateway_core::{Plan, Room};

/// Entries of one batch, after which the clock is read.
const BATCH: usize = 512;

/// Most batches of one slice.
const MOST_BATCHES: usize = 8;

/// A slice ends with the batch that is at work then.
const SLICE: Duration = Duration::from_millis(2);

/// Keys that wait for their deletion.
#[derive(Debug, Default)]
pub struct Removal {
    peers: HashSet<PeerKey>,
    dest: Vec<(u32, DestKey)>,
    ports: Vec<(u32, PortsKey)>,
    unsettled: Unsettled,
}

/// What programs may still use that had begun when it was taken out of force.
#[derive(Debug, Default)]
struct Unsettled {
    dest: Vec<(u32, DestKey)>,
    ports: Vec<(u32, PortsKey)>,
    /// Positions of profiles of devices that have gone.
    profiles: Vec<u32>,
}

/// Keys to be deleted together.
pub enum Batch {
    /// From PEERS.
    Peers(Vec<PeerKey>),
    /// From DEST: bits and key.
    Dest(Vec<(u32, DestKey)>),
    /// From PORTS: bits and key.
    Ports(Vec<(u32, PortsKey)>),
}

impl Removal {
    /// Takes what `plan` wants deleted.
    pub fn add(&mut self, plan: &Plan) {
        self.peers.extend(&plan.delete_peers);
        let Unsettled { dest, ports, profiles } = &mut self.unsettled;
        dest.extend(&plan.delete_dest);
        ports.extend(&plan.delete_ports);
        let gone = plan.patches.iter().filter(|(_, patch)| *patch == Patch::Gone);
        profiles.extend(gone.map(|(position, _)| *position));
    }

    /// Whether there is something that programs may still use.
    pub const fn is_unsettled(&self) -> bool {
        let Unsettled { dest, ports, profiles } = &self.unsettled;
        !(dest.is_empty() && ports.is_empty() && profiles.is_empty())
    }

    /// No program uses any more what was [added](Self::add) so far. Returns the positions of profiles to be cleared.
    pub fn settle(&mut self) -> Vec<u32> {
        let Unsettled { mut dest, mut ports, profiles } = std::mem::take(&mut self.unsettled);
        self.dest.append(&mut dest);
        self.ports.append(&mut ports);
        profiles
    }

    /// Leaves an address that somebody has again.
    pub fn keep(&mut self, address: &PeerKey) {
        self.peers.remove(address);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.dest.is_empty() && self.ports.is_empty() && !self.is_unsettled()
    }

    /// Entries that wait.
    pub fn room(&self) -> Room {
        let Self { peers, dest, ports, unsettled } = self;
        Room {
            peers: peers.len(),
            dest: dest.len() + unsettled.dest.len(),
            ports: ports.len() + unsettled.ports.len(),
        }
    }

    /// Takes what was written of `plan`, which never came into force. What there was before is `before`'s.
    pub fn take_back(&mut self, plan: &Plan, before: &HashMap<PeerKey, PeerValue>) {
        self.dest.extend(plan.insert_dest.iter().map(|(bits, key, _)| (*bits, *key)));
        self.ports.extend(plan.insert_ports.iter().map(|(bits, key, _)| (*bits, *key)));
        let fresh = plan.insert_peers.iter().filter(|(address, _)| !before.contains_key(address));
        self.peers.extend(fresh.map(|(address, _)| address));
    }

    /// Has `delete` do a bounded part of it. What it fails at goes on waiting.
    pub fn slice(&mut self, mut delete: impl FnMut(&Batch) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let began = Instant::now();
        for _ in 0..MOST_BATCHES {
            let Some(batch) = self.next() else { return Ok(()) };
            delete(&batch)?;
            self.forget(batch);
            if began.elapsed() >= SLICE {
                break;
            }
        }
        Ok(())
    }

    /// Addresses first: they are what programs would find.
    fn next(&self) -> Option<Batch> {
        if !self.peers.is_empty() {
            return Some(Batch::Peers(self.peers.iter().take(BATCH).copied().collect()));
        }
        let last = |len: usize| len.saturating_sub(BATCH)..;
        if !self.dest.is_empty() {
            return Some(Batch::Dest(self.dest[last(self.dest.len())].to_vec()));
        }
        (!self.ports.is_empty()).then(|| Batch::Ports(self.ports[last(self.ports.len())].to_vec()))
    }

    fn forget(&mut self, done: Batch) {
        match done {
            Batch::Peers(keys) => keys.iter().for_each(|key| self.keep(key)),
            Batch::Dest(keys) => self.dest.truncate(self.dest.len() - keys.len()),
            Batch::Ports(keys) => self.ports.truncate(self.ports.len() - keys.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn removal(count: u32) -> Removal {
        let key = |n: u32| PortsKey { class: n.to_be_bytes(), protocol: 6, port: [0; 2] };
        let ports = (0..count).map(|n| (56, key(n))).collect();
        Removal { ports, ..Removal::default() }
    }

    #[test]
    fn a_slice_is_bounded_and_all_of_it_is_deleted_once() {
        let count = BATCH * MOST_BATCHES * 2 + 1;
        let mut removal = removal(u32::try_from(count).unwrap());
        let deleted = Cell::new(0);
        let mut slices = 0;
        while !removal.is_empty() {
            let before = deleted.get();
            let count = |batch: &Batch| {
                let Batch::Ports(keys) = batch else { panic!("only ports wait") };
                deleted.set(deleted.get() + keys.len());
                Ok(())
            };
            removal.slice(count).unwrap();
            assert!(deleted.get() - before <= BATCH * MOST_BATCHES);
            slices += 1;
        }
        assert_eq!(deleted.get(), count);
        assert!(slices >= 3);
    }

    #[test]
    fn what_fails_goes_on_waiting_and_an_address_given_again_does_not() {
        let key = |last| PeerKey { family: 4, address: [last; 16] };
        let mut removal = removal(2);
        let plan = Plan { delete_peers: vec![key(1), key(2)], ..Plan::default() };
        removal.add(&plan);
        removal.keep(&key(1));
        removal.slice(|_| anyhow::bail!("no memory")).unwrap_err();
        assert_eq!(removal.room(), Room { peers: 1, dest: 0, ports: 2 });
        let seen = Cell::new(false);
        let look = |batch: &Batch| {
            if let Batch::Peers(keys) = batch {
                assert_eq!(keys, &[key(2)]);
                seen.set(true);
            }
            Ok(())
        };
        removal.slice(look).unwrap();
        assert!(seen.get() && removal.is_empty());
    }

    #[test]
    fn what_programs_may_still_use_waits_for_them_and_takes_room_meanwhile() {
        let mut removal = removal(0);
        let (port, set) = (PortsKey { class: [1; 4], protocol: 6, port: [0; 2] }, [2; 16]);
        let plan = Plan {
            delete_ports: vec![(56, port)],
            delete_dest: vec![(64, DestKey::new(1, nexa_abi::layout::Family::V4, set))],
            patches: vec![(7, Patch::Gone), (9, Patch::Own(3))],
            ..Plan::default()
        };
        removal.add(&plan);
        let room = Room { peers: 0, dest: 1, ports: 1 };
        removal.slice(|_| anyhow::bail!("a program may be looking at it")).unwrap();
        assert!(removal.is_unsettled() && !removal.is_empty());
        assert_eq!((removal.room(), removal.settle()), (room, vec![7]));
        let deleted = Cell::new(0);
        let count = |_: &Batch| {
            deleted.set(deleted.get() + 1);
            Ok(())
        };
        removal.slice(count).unwrap();
        assert!(deleted.get() == 2 && removal.is_empty() && removal.settle().is_empty());
    }
}
