//! What the programs tell of packets that they dropped, folded: who tries the same thing over and over is told of once
//! in an interval.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::layout::{Direction, Event, FLOW_BEGAN, Family, FlowKey};
use nexa_abi::reason::Reason;
use nexa_types::{Generation, RuleId};
use nexa_wire::drops::{self, Dropped, Route};

/// Most different kinds of drops in an interval; what else there is is counted and not told.
pub const MAX_OPEN: usize = 4096;

/// What makes two drops alike. Where they come from does not: of a device it is the device, and a scan of one from
/// many places is one scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    peer: u32,
    direction: u32,
    what: u32,
    rule: u32,
    family: u8,
    protocol: u8,
    destination: [u8; 16],
    port: [u8; 2],
}

impl Kind {
    const fn of(event: &Event) -> Self {
        let FlowKey { destination, destination_port, family, protocol, .. } = event.tuple;
        let Event { peer, direction, what, rule, .. } = *event;
        Self { peer, direction, what, rule, family, protocol, destination, port: destination_port }
    }
}

/// Drops of one kind within an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The last of them.
    pub last: Event,
    /// When the first was; boot clock, nanoseconds.
    pub first_boot_ns: u64,
    /// How many were told.
    pub told: u64,
    /// Their share of what was not told of their peer.
    pub untold: u64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Boot clock, nanoseconds.
    pub boot_ns: u64,
    /// Wall clock.
    pub wall: DateTime<Utc>,
}

impl Clocks {
    /// What the wall clock says of a moment of the boot clock, to the millisecond.
    pub fn wall_at(&self, boot_ns: u64) -> DateTime<Utc> {
        let ago = i64::try_from(self.boot_ns.saturating_sub(boot_ns) / 1_000_000).unwrap_or(i64::MAX);
        let wall = DateTime::from_timestamp_millis(self.wall.timestamp_millis()).unwrap_or(self.wall);
        TimeDelta::try_milliseconds(ago).and_then(|ago| wall.checked_sub_signed(ago)).unwrap_or(wall)
    }
}

/// Folds events. An interval begins with its first drop.
#[derive(Debug)]
pub struct Aggregator {
    interval_ns: u64,
    open: BTreeMap<Kind, Folded>,
    /// Of each peer, events that were told, and how many were not.
    peers: HashMap<u32, (u64, u64)>,
    /// When the interval ends; boot clock, nanoseconds.
    ends_ns: Option<u64>,
    missed: u64,
}

impl Aggregator {
    /// Folds over intervals of this length.
    pub fn new(interval_ns: u64) -> Self {
        Self { interval_ns, open: BTreeMap::new(), peers: HashMap::new(), ends_ns: None, missed: 0 }
    }

    /// Takes an event, in the order in which they are told. Flows that began are none of its business.
    pub fn take(&mut self, event: &Event) {
        if event.what == FLOW_BEGAN {
            return;
        }
        let kind = Kind::of(event);
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(&kind) {
            self.missed += 1 + u64::from(event.untold);
            return;
        }
        let (told, untold) = self.peers.entry(event.peer).or_default();
        *told += 1;
        *untold += u64::from(event.untold);
        let fresh = Folded { last: *event, first_boot_ns: event.boot_ns, told: 0, untold: 0 };
        let folded = self.open.entry(kind).or_insert(fresh);
        folded.told += 1;
        folded.last = *event;
        self.ends_ns.get_or_insert(event.boot_ns.saturating_add(self.interval_ns));
    }

    /// When there is something to [`Self::close`]; boot clock, nanoseconds.
    pub const fn ends_ns(&self) -> Option<u64> {
        self.ends_ns
    }

    /// What was folded, once the interval has ended; the next one begins with the next event.
    pub fn close(&mut self, boot_ns: u64) -> Vec<Folded> {
        if self.ends_ns.is_none_or(|ends_ns| boot_ns < ends_ns) {
            return Vec::new();
        }
        self.ends_ns = None;
        let peers = std::mem::take(&mut self.peers);
        // Of each peer, how many of its told events have had their share.
        let mut shared: HashMap<u32, u64> = HashMap::new();
        let mut closed: Vec<Folded> = std::mem::take(&mut self.open).into_values().collect();
        for folded in &mut closed {
            let Some(&(told, untold)) = peers.get(&folded.last.peer) else { continue };
            let before = shared.entry(folded.last.peer).or_default();
            // Differences of what is rounded down add up to the whole.
            let share_of = |events: u64| {
                let share = u128::from(untold) * u128::from(events) / u128::from(told.max(1));
                u64::try_from(share).unwrap_or(u64::MAX)
            };
            folded.untold = share_of(*before + folded.told) - share_of(*before);
            *before += folded.told;
        }
        closed.sort_by_key(|folded| folded.last.boot_ns);
        closed
    }

    /// How many drops there was no room for since this was last asked.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}

impl Folded {
    /// The same in the words of the wire, without the rule that came closest and without what is excluded.
    pub fn dropped(&self, clocks: &Clocks) -> Dropped {
        let event = &self.last;
        let reason = Reason::ALL.iter().find(|reason| **reason as u32 == event.what);
        Dropped {
            first_at: clocks.wall_at(self.first_boot_ns),
            last_at: clocks.wall_at(event.boot_ns),
            packets: self.told.saturating_add(self.untold),
            untold_packets: self.untold,
            direction: match event.direction {
                direction if direction == Direction::Egress as u32 => drops::Direction::Egress,
                _ => drops::Direction::Ingress,
            },
            route: route(&event.tuple),
            // Of a program that is newer than this daemon.
            reason: reason.map_or("unknown", |reason| reason.as_str()).to_owned(),
            rule: (event.rule != 0).then_some(RuleId(event.rule)),
            generation: Generation(event.generation),
            excluded: None,
            nearest: None,
        }
    }

    /// The address that tells whose packets they are.
    pub fn device_address(&self) -> Option<IpAddr> {
        let tuple = &self.last.tuple;
        let is_egress = self.last.direction == Direction::Egress as u32;
        address(tuple.family, if is_egress { tuple.destination } else { tuple.source })
    }
}

/// Where a packet went, in the words of the wire; nothing of one that could not be read.
pub fn route(tuple: &FlowKey) -> Option<Route> {
    Some(Route {
        source: address(tuple.family, tuple.source)?,
        source_port: u16::from_be_bytes(tuple.source_port),
        destination: address(tuple.family, tuple.destination)?,
        destination_port: u16::from_be_bytes(tuple.destination_port),
        protocol: tuple.protocol,
    })
}

/// An address as the maps have it.
pub fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = bytes;
    if family == Family::V4 as u8 {
        return Some(IpAddr::from([a, b, c, d]));
    }
    (family == Family::V6 as u8).then(|| IpAddr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn event(peer: u32, port: u16, at_seconds: u64) -> Event {
        let mut tuple = FlowKey {
            source: [0; 16],
            destination: [0; 16],
            source_port: [0x9c, 0x40],
            destination_port: port.to_be_bytes(),
            family: 4,
            protocol: 6,
            answers: 0,
            zero: 0,
        };
        tuple.source[..4].copy_from_slice(&[100, 96, 0, 2]);
        tuple.destination[..4].copy_from_slice(&[10, 20, 0, 10]);
        Event {
            boot_ns: at_seconds * SECOND_NS,
            generation: 5,
            peer,
            rule: 0,
            what: Reason::NoRule as u32,
            direction: Direction::Ingress as u32,
            length_bytes: 60,
            untold: 0,
            tuple,
        }
    }

    fn folded(events: &[Event]) -> (Vec<Folded>, Aggregator) {
        let mut aggregator = Aggregator::new(2 * SECOND_NS);
        events.iter().for_each(|event| aggregator.take(event));
        (aggregator.close(u64::MAX), aggregator)
    }

    #[test]
    fn what_is_alike_is_one_and_what_differs_in_anything_is_not() {
        let same = event(1, 443, 10);
        let mut differing = vec![same; 7];
        differing[1].peer = 2;
        differing[2].what = Reason::NoFlow as u32;
        differing[3].rule = 9;
        differing[4].tuple.destination[3] = 11;
        differing[5].tuple.protocol = 17;
        differing[6].direction = Direction::Egress as u32;
        differing.push(event(1, 8443, 10));
        assert_eq!(folded(&differing).0.len(), differing.len());

        let mut alike = [same, event(1, 443, 11)];
        alike[1].tuple.source_port = [1, 1];
        alike[1].generation = 6;
        let [one] = folded(&alike).0[..] else { panic!() };
        assert_eq!((one.told, one.untold, one.first_boot_ns), (2, 0, same.boot_ns));
        assert_eq!(one.last, alike[1]);
    }

    #[test]
    fn an_interval_begins_with_its_first_event_and_ends_by_the_boot_clock() {
        let mut aggregator = Aggregator::new(2 * SECOND_NS);
        assert_eq!((aggregator.ends_ns(), aggregator.close(u64::MAX)), (None, vec![]));
        aggregator.take(&event(1, 443, 10));
        aggregator.take(&event(1, 443, 11));
        assert_eq!(aggregator.ends_ns(), Some(12 * SECOND_NS));
        assert_eq!(aggregator.close(12 * SECOND_NS - 1), []);
        assert_eq!(aggregator.close(12 * SECOND_NS).len(), 1);
        aggregator.take(&event(1, 443, 20));
        assert_eq!(aggregator.ends_ns(), Some(22 * SECOND_NS));
        assert_eq!(aggregator.close(u64::MAX)[0].told, 1, "nothing of the interval before");
    }

    #[test]
    fn what_was_not_told_of_a_peer_is_shared_out_among_its_own_and_adds_up() {
        let mut events = vec![event(1, 1, 10), event(1, 2, 10), event(1, 2, 10), event(2, 1, 10)];
        events[2].untold = 100;
        let of = |folded: &[Folded], peer| -> Vec<(u64, u64)> {
            let mine = folded.iter().filter(|folded| folded.last.peer == peer);
            let mut shares: Vec<_> = mine.map(|folded| (folded.told, folded.untold)).collect();
            shares.sort_unstable();
            shares
        };
        let closed = folded(&events).0;
        assert_eq!(of(&closed, 1), [(1, 33), (2, 67)]);
        assert_eq!(of(&closed, 2), [(1, 0)]);
        // A flow that began is no drop, and has no share in those.
        events.push(Event { what: FLOW_BEGAN, untold: 7, ..event(1, 443, 10) });
        assert_eq!(of(&folded(&events).0, 1), [(1, 33), (2, 67)]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let kinds = u16::try_from(MAX_OPEN).unwrap() + 1;
        let mut events: Vec<Event> = (1..=kinds).map(|port| event(1, port, 10)).collect();
        events.last_mut().unwrap().untold = 4;
        // What has a place keeps it.
        events.push(event(1, 1, 10));
        let (closed, mut aggregator) = folded(&events);
        assert_eq!(closed.len(), MAX_OPEN);
        assert_eq!(closed.iter().map(|folded| folded.told).max(), Some(2));
        assert_eq!((aggregator.take_missed(), aggregator.take_missed()), (5, 0));
    }

    #[test]
    fn a_fold_says_when_whose_and_why() {
        let wall: DateTime<Utc> = "2026-11-25T02:00:10.123456Z".parse().unwrap();
        let clocks = Clocks { boot_ns: 20 * SECOND_NS, wall };
        let mut denied = event(1, 443, 15);
        (denied.rule, denied.what) = (9, Reason::RuleDeny as u32);
        let mut one = folded(&[denied]).0[0];
        (one.first_boot_ns, one.untold) = (14 * SECOND_NS, 3);
        let dropped = one.dropped(&clocks);
        assert_eq!(dropped.first_at, "2026-11-25T02:00:04.123Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(dropped.last_at, "2026-11-25T02:00:05.123Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!((dropped.packets, dropped.untold_packets), (4, 3));
        assert_eq!((&*dropped.reason, dropped.rule), ("rule_deny", Some(RuleId(9))));
        assert_eq!(dropped.generation, Generation(5));
        let [device, other] = ["100.96.0.2", "10.20.0.10"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(one.device_address(), Some(device));
        one.last.direction = Direction::Egress as u32;
        assert_eq!(one.device_address(), Some(other));
        let route = dropped.route.unwrap();
        assert_eq!((route.source, route.source_port), (device, 40_000));
        assert_eq!((route.destination, route.destination_port, route.protocol), (other, 443, 6));

        let mut odd = denied;
        (odd.tuple.family, odd.what, odd.rule) = (0, 4711, 0);
        let odd = folded(&[odd]).0[0];
        let dropped = odd.dropped(&clocks);
        assert_eq!((dropped.route, odd.device_address(), dropped.rule), (None, None, None));
        assert_eq!(dropped.reason, "unknown");
    }
}
