//! The latest drops, for who asks, who follows, and the control plane.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nexa_types::{DeviceId, RuleId};
use nexa_wire::drops::{Direction, Dropped};
use nexa_wire::gateway::{self, DropReport};
use nexa_wire::local::{self, Flow, PeerDrop};
use tokio::sync::broadcast;

use crate::gateway::lock;

/// Drops that a follower may be behind.
const FOLLOWER_BEHIND: usize = 1024;

/// Where drops are put up.
#[derive(Debug)]
pub struct Board {
    recent: Mutex<VecDeque<Arc<PeerDrop>>>,
    news: broadcast::Sender<Arc<PeerDrop>>,
    begun: broadcast::Sender<Arc<Begun>>,
    unreported: Mutex<Unreported>,
    counts: Counted,
}

/// A flow that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// As it is when it begins.
    pub flow: Flow,
    /// How many of its device began before it and were not told.
    pub untold: u64,
}

/// What was told, by whom it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Drops that the programs told.
    pub drops: u64,
    /// Flows that the programs told.
    pub flows: u64,
    /// Events that the programs did not tell, because there were too many of a peer or no room.
    pub untold: u64,
    /// Drops that the daemon had no room for.
    pub missed: u64,
    /// Refusals for which it was not found out which rule came closest, because there were too many.
    pub unexplained: u64,
}

#[derive(Debug, Default)]
struct Counted {
    drops: AtomicU64,
    flows: AtomicU64,
    untold: AtomicU64,
    missed: AtomicU64,
    unexplained: AtomicU64,
}

/// What the control plane is to be told: what is alike is one, however long it takes to tell it.
#[derive(Debug, Default)]
struct Unreported {
    drops: HashMap<Kind, DropReport>,
    missed: u64,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    device: Option<DeviceId>,
    direction: Direction,
    reason: String,
    rule: Option<RuleId>,
    destination: Option<(IpAddr, u16, u8)>,
}

impl Kind {
    fn of(device: Option<DeviceId>, dropped: &Dropped) -> Self {
        let destination =
            |route: nexa_wire::drops::Route| (route.destination, route.destination_port, route.protocol);
        let Dropped { direction, reason, rule, route, .. } = dropped;
        Self {
            device,
            direction: *direction,
            reason: reason.clone(),
            rule: *rule,
            destination: route.map(destination),
        }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self {
            recent: Mutex::default(),
            news: broadcast::Sender::new(FOLLOWER_BEHIND),
            begun: broadcast::Sender::new(FOLLOWER_BEHIND),
            unreported: Mutex::default(),
            counts: Counted::default(),
        }
    }
}

impl Board {
    /// Puts up drops, oldest first.
    pub fn put_up(&self, drops: Vec<PeerDrop>) {
        {
            let mut unreported = lock(&self.unreported);
            for drop in &drops {
                unreported.add(drop.peer.as_ref().map(|peer| peer.device), &drop.dropped);
            }
        }
        // Under the lock, so that who subscribes has each drop once.
        let mut recent = lock(&self.recent);
        for drop in drops.into_iter().map(Arc::new) {
            if recent.len() == local::MAX_DROPS {
                recent.pop_front();
            }
            recent.push_back(Arc::clone(&drop));
            // Nobody may follow.
            let _ = self.news.send(drop);
        }
    }

    /// The latest drops, oldest first, and those that are to come.
    pub fn subscribe(&self) -> (Vec<Arc<PeerDrop>>, broadcast::Receiver<Arc<PeerDrop>>) {
        let recent = lock(&self.recent);
        (recent.iter().cloned().collect(), self.news.subscribe())
    }

    /// Whether anybody wants to hear of flows as they begin.
    pub fn follows_flows(&self) -> bool {
        self.begun.receiver_count() > 0
    }

    /// Tells of a flow that began.
    pub fn flow_began(&self, begun: Begun) {
        let _ = self.begun.send(Arc::new(begun));
    }

    /// The flows that are to begin.
    pub fn subscribe_to_flows(&self) -> broadcast::Receiver<Arc<Begun>> {
        self.begun.subscribe()
    }

    /// Takes what the control plane was not told yet, oldest first, and how many drops there was no room for.
    pub fn take_unreported(&self) -> (Vec<DropReport>, u64) {
        let Unreported { drops, missed } = std::mem::take(&mut *lock(&self.unreported));
        let mut drops: Vec<_> = drops.into_values().collect();
        drops.sort_by_key(|report| report.dropped.last_at);
        (drops, missed)
    }

    /// Counts a drop that the programs told.
    pub fn count_drop(&self) {
        self.counts.drops.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a flow that the programs told.
    pub fn count_flow(&self) {
        self.counts.flows.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts events that the programs did not tell.
    pub fn count_untold(&self, events: u64) {
        self.counts.untold.fetch_add(events, Ordering::Relaxed);
    }

    /// Counts drops that there was no room for.
    pub fn count_missed(&self, drops: u64) {
        self.counts.missed.fetch_add(drops, Ordering::Relaxed);
        lock(&self.unreported).missed += drops;
    }

    /// Counts refusals whose closest rule was not looked for.
    pub fn count_unexplained(&self, refusals: u64) {
        self.counts.unexplained.fetch_add(refusals, Ordering::Relaxed);
    }

    /// All counters.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counted { drops, flows, untold, missed, unexplained } = &self.counts;
        Counts {
            drops: load(drops),
            flows: load(flows),
            untold: load(untold),
            missed: load(missed),
            unexplained: load(unexplained),
        }
    }
}

impl Unreported {
    fn add(&mut self, device: Option<DeviceId>, dropped: &Dropped) {
        let kind = Kind::of(device, dropped);
        if let Some(report) = self.drops.get_mut(&kind) {
            report.dropped.absorb(dropped.clone());
        } else if self.drops.len() < gateway::MAX_DROPS {
            self.drops.insert(kind, DropReport { device, dropped: dropped.clone() });
        } else {
            self.missed += dropped.packets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{dropped, peer};

    fn drop_of(n: u8, port: u16) -> PeerDrop {
        let peer = peer(n);
        let name = local::PeerName { device: peer.device, name: peer.name, owner: peer.owner };
        PeerDrop { peer: Some(name), dropped: dropped(port) }
    }

    #[test]
    fn who_follows_has_each_drop_once_and_the_oldest_make_room() {
        let board = Board::default();
        for port in 1..=1001 {
            board.put_up(vec![drop_of(2, port)]);
        }
        let (recent, mut news) = board.subscribe();
        let port = |drop: &PeerDrop| drop.dropped.route.unwrap().destination_port;
        assert_eq!((recent.len(), port(&recent[0]), port(&recent[999])), (local::MAX_DROPS, 2, 1001));
        assert!(news.try_recv().is_err());
        board.put_up(vec![drop_of(2, 2000)]);
        assert_eq!(port(&news.try_recv().unwrap()), 2000);
        // One that does not read holds nobody up, and learns what it missed.
        board.put_up((1..=2000).map(|port| drop_of(2, port)).collect());
        assert!(matches!(
            news.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(missed)) if missed == 2000 - FOLLOWER_BEHIND as u64
        ));
    }

    #[test]
    fn what_is_alike_is_reported_as_one_and_what_there_is_no_room_for_is_counted() {
        let board = Board::default();
        let mut later = drop_of(2, 8443);
        later.dropped.last_at += chrono::TimeDelta::seconds(5);
        later.dropped.nearest = None;
        board.put_up(vec![drop_of(2, 8443), drop_of(3, 8443), later.clone()]);
        let (reports, missed) = board.take_unreported();
        assert_eq!((reports.len(), missed), (2, 0));
        let merged = &reports[1];
        assert_eq!(merged.device, Some(peer(2).device));
        assert_eq!(merged.dropped.packets, 2 * later.dropped.packets);
        assert_eq!(
            (merged.dropped.first_at, merged.dropped.last_at),
            (dropped(1).first_at, later.dropped.last_at)
        );
        assert_eq!(merged.dropped.nearest, dropped(1).nearest, "what was found out stays");
        assert_eq!(board.take_unreported().0, [], "it is told once");

        let most = u16::try_from(gateway::MAX_DROPS).unwrap();
        board.put_up((1..=most + 2).map(|port| drop_of(2, port)).collect());
        board.count_missed(10);
        let (reports, missed) = board.take_unreported();
        assert_eq!((reports.len(), missed), (gateway::MAX_DROPS, 10 + 2 * dropped(1).packets));
        assert_eq!(board.counts().missed, 10);
    }
}
