//! From the ring buffer to the board.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::Utc;
use nexa_abi::layout::{Event, FLOW_BEGAN};
use nexa_abi::reason::Reason;
use nexa_gateway_core::events::{Aggregator, Clocks, Folded, route};
use nexa_types::{Generation, RuleId};
use nexa_wire::drops::{Direction, Route};
use nexa_wire::local::{Flow, NearMiss, PeerDrop, Phase};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{interval, sleep};

use super::{Begun, Board, Policies, Ring};
use crate::dataplane::boot_clock_ns;

/// What is alike within this time is told as one.
const INTERVAL: Duration = Duration::from_secs(1);

/// Events that are read before others have their turn.
const BURST: usize = 1024;

/// How often the ring is looked at although nothing was announced.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long it may take to find out which rules came closest, per interval. One is found out always.
const EXPLAINING: Duration = Duration::from_millis(50);

/// Answers that are remembered: who is refused tries again.
const REMEMBERED: usize = 1024;

/// Reads events until the task is dropped.
///
/// # Errors
/// When the ring buffer cannot be waited for.
pub async fn watch(ring: Ring, board: Arc<Board>, policies: Arc<Policies>) -> anyhow::Result<()> {
    // SAFETY: the ring owns its descriptor, which stays open and the same as long as the ring is there.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    let mut ring = ring.map_err(io::Error::from).context("cannot wait for events")?;
    let interval_ns = u64::try_from(INTERVAL.as_nanos()).unwrap_or(u64::MAX);
    let mut aggregator = Aggregator::new(interval_ns);
    let mut explainer = Explainer::new(Arc::clone(&policies));
    let mut explaining: Option<JoinHandle<(Explainer, Told)>> = None;
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            ready = ring.readable_mut() => {
                let mut ready = ready.context("cannot wait for events")?;
                if read(ready.get_inner_mut(), &mut aggregator, &board, &policies) < BURST {
                    ready.clear_ready();
                }
            }
            _ = look.tick() => {
                read(ring.get_mut(), &mut aggregator, &board, &policies);
            }
            // One at a time: what comes meanwhile belongs to a longer interval.
            told = finished(&mut explaining) => {
                let (back, told) = told.context("explaining drops failed")?;
                explaining = None;
                explainer = back;
                board.count_unexplained(told.unexplained);
                board.put_up(told.drops);
            }
            () = until(aggregator.ends_ns()), if explaining.is_none() => {
                let clocks = Clocks { boot_ns: boot_clock_ns()?, wall: Utc::now() };
                let closed = aggregator.close(clocks.boot_ns);
                let missed = aggregator.take_missed();
                if missed > 0 {
                    board.count_missed(missed);
                }
                let mut at_work = std::mem::replace(&mut explainer, Explainer::new(Arc::default()));
                explaining = Some(spawn_blocking(move || {
                    let told = at_work.tell(&closed, &clocks);
                    (at_work, told)
                }));
            }
        }
    }
}

fn read(ring: &mut Ring, aggregator: &mut Aggregator, board: &Board, policies: &Policies) -> usize {
    let mut events = 0;
    while events < BURST
        && let Some(event) = ring.take()
    {
        events += 1;
        match event.what {
            FLOW_BEGAN => {
                board.count_flow();
                if board.follows_flows()
                    && let Some(begun) = begun(&event, policies)
                {
                    board.flow_began(begun);
                }
            }
            _ => board.count_drop(),
        }
        board.count_untold(event.untold.into());
        aggregator.take(&event);
    }
    events
}

/// A flow that began, of a device that is known.
fn begun(event: &Event, policies: &Policies) -> Option<Begun> {
    let policy = policies.of(Generation(event.generation)).or_else(|| policies.newest())?;
    let Route { source, source_port, destination, destination_port, protocol } = route(&event.tuple)?;
    let flow = Flow {
        peer: policy.name(source)?,
        source,
        source_port,
        destination,
        destination_port,
        protocol,
        rule: RuleId(event.rule),
        phase: Phase::New,
        idle_seconds: 0,
    };
    Some(Begun { flow, untold: event.untold.into() })
}

/// Waits for a moment of the boot clock; for ever where there is none.
async fn until(boot_ns: Option<u64>) {
    let Some(boot_ns) = boot_ns else { return std::future::pending().await };
    let now_ns = boot_clock_ns().unwrap_or(boot_ns);
    sleep(Duration::from_nanos(boot_ns.saturating_sub(now_ns))).await;
}

async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

struct Told {
    drops: Vec<PeerDrop>,
    unexplained: u64,
}

/// Finds out whose packets were dropped, and which rule came closest to allowing them.
struct Explainer {
    policies: Arc<Policies>,
    /// Of which generation the answers are.
    generation: Generation,
    /// By device, destination, protocol and port.
    answers: HashMap<(IpAddr, IpAddr, u8, u16), Option<NearMiss>>,
}

impl Explainer {
    fn new(policies: Arc<Policies>) -> Self {
        Self { policies, generation: Generation(0), answers: HashMap::new() }
    }

    fn tell(&mut self, closed: &[Folded], clocks: &Clocks) -> Told {
        let begun = Instant::now();
        let mut told = Told { drops: Vec::with_capacity(closed.len()), unexplained: 0 };
        let mut looked = 0;
        for folded in closed {
            let mut dropped = folded.dropped(clocks);
            let policy = self.policies.of(dropped.generation);
            let address = folded.device_address();
            // Who it was is known also of a generation that is forgotten, from the next one.
            let named = policy.clone().or_else(|| self.policies.newest());
            let peer = named.zip(address).and_then(|(policy, address)| policy.name(address));
            let is_excluded = folded.last.what == Reason::Excluded as u32;
            if (is_excluded || folded.last.what == Reason::NoRule as u32)
                && let (Some(policy), Some(route)) = (&policy, dropped.route)
            {
                if is_excluded {
                    // To a device goes what it answers, which the policy allows no longer.
                    let asked = match dropped.direction {
                        Direction::Ingress => route.destination,
                        Direction::Egress => route.source,
                    };
                    dropped.excluded = policy.exclusion(asked);
                }
                self.turn_to(dropped.generation);
                let key = (route.source, route.destination, route.protocol, route.destination_port);
                if let Some(answer) = self.answers.get(&key) {
                    dropped.nearest.clone_from(answer);
                } else if looked == 0 || begun.elapsed() < EXPLAINING {
                    looked += 1;
                    let answer = policy.rules().and_then(|rules| rules.nearest(&route, dropped.last_at));
                    dropped.nearest.clone_from(&answer);
                    if self.answers.len() < REMEMBERED {
                        self.answers.insert(key, answer);
                    }
                } else {
                    told.unexplained += 1;
                }
            }
            told.drops.push(PeerDrop { peer, dropped });
        }
        told
    }

    /// Answers are remembered of one generation at a time, and of each for a number of questions.
    fn turn_to(&mut self, generation: Generation) {
        if self.generation != generation || self.answers.len() == REMEMBERED {
            self.generation = generation;
            self.answers.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use nexa_abi::layout::Direction::{Egress, Ingress};
    use nexa_abi::layout::FlowKey;
    use nexa_wire::local::{Difference, Exclusion};

    use super::*;
    use crate::fixture;

    fn event(source: [u8; 4], port: u16, generation: u64) -> Event {
        let padded = |address: [u8; 4]| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address);
            bytes
        };
        let tuple = FlowKey {
            source: padded(source),
            destination: padded([10, 20, 0, 10]),
            source_port: [1, 1],
            destination_port: port.to_be_bytes(),
            family: 4,
            protocol: 6,
            answers: 0,
            zero: 0,
        };
        Event {
            boot_ns: 1,
            generation,
            peer: 0,
            rule: 0,
            what: Reason::NoRule as u32,
            direction: Ingress as u32,
            length_bytes: 60,
            untold: 0,
            tuple,
        }
    }

    fn tell(explainer: &mut Explainer, events: &[Event]) -> Told {
        let mut aggregator = Aggregator::new(1);
        events.iter().for_each(|event| aggregator.take(event));
        let clocks = Clocks { boot_ns: 2, wall: Utc::now() };
        explainer.tell(&aggregator.close(u64::MAX), &clocks)
    }

    #[test]
    fn a_refusal_is_told_with_its_device_and_the_rule_of_its_own_generation_that_came_closest() {
        let policies = Arc::new(Policies::default());
        let mut explainer = Explainer::new(Arc::clone(&policies));
        let (device, stranger) = ([100, 96, 0, 2], [100, 96, 0, 99]);
        let nothing = tell(&mut explainer, &[event(device, 8443, 1)]);
        assert!(nothing.drops[0].peer.is_none() && nothing.drops[0].dropped.nearest.is_none());

        policies.note(Generation(5), &Arc::new(fixture::snapshot()), &[]);
        let mut without_rules = fixture::snapshot();
        without_rules.rules.clear();
        policies.note(Generation(6), &Arc::new(without_rules), &[]);
        // Twice, so that what is remembered is told as well.
        for _ in 0..2 {
            let mut told = tell(&mut explainer, &[event(device, 8443, 5)]).drops;
            let drop = told.pop().unwrap();
            assert_eq!(drop.peer.unwrap().name, "laptop");
            let allowed = vec!["443".parse().unwrap()];
            let wanted = NearMiss { rule: RuleId(17), differs: Difference::Port { allowed } };
            assert_eq!(drop.dropped.nearest, Some(wanted));
        }
        let later = tell(&mut explainer, &[event(device, 8443, 6)]);
        assert!(later.drops[0].peer.is_some() && later.drops[0].dropped.nearest.is_none());
        let forgotten = tell(&mut explainer, &[event(device, 8443, 2)]);
        assert_eq!(forgotten.drops[0].peer.as_ref().unwrap().name, "laptop");
        assert!(tell(&mut explainer, &[event(stranger, 8443, 5)]).drops[0].peer.is_none());
        // What a rule refuses has no rule that came close.
        let denied = Event { what: Reason::RuleDeny as u32, rule: 3, ..event(device, 8443, 5) };
        assert!(tell(&mut explainer, &[denied]).drops[0].dropped.nearest.is_none());
    }

    #[test]
    fn what_is_excluded_is_told_with_what_it_is() {
        let policies = Arc::new(Policies::default());
        let mut explainer = Explainer::new(Arc::clone(&policies));
        policies.note(Generation(5), &Arc::new(fixture::snapshot()), &[IpAddr::from([192, 0, 2, 7])]);
        let mut told = |destination: [u8; 4], direction| {
            let mut event = event([100, 96, 0, 2], 443, 5);
            event.what = Reason::Excluded as u32;
            event.direction = direction as u32;
            event.tuple.destination[..4].copy_from_slice(&destination);
            if direction == Egress {
                event.tuple = event.tuple.reversed();
            }
            tell(&mut explainer, &[event]).drops.remove(0).dropped
        };
        for direction in [Ingress, Egress] {
            assert_eq!(told([100, 96, 0, 3], direction).excluded, Some(Exclusion::TunnelPool));
            assert_eq!(told([192, 0, 2, 7], direction).excluded, Some(Exclusion::Gateway));
            assert_eq!(told([224, 0, 0, 1], direction).excluded, Some(Exclusion::Multicast));
        }
        assert!(told([10, 20, 0, 10], Ingress).excluded.is_none(), "of another policy");
    }

    #[test]
    fn a_flow_that_began_is_told_with_its_device_its_rule_and_how_many_were_not_told() {
        let policies = Policies::default();
        let event = Event { what: FLOW_BEGAN, rule: 17, untold: 3, ..event([100, 96, 0, 2], 443, 5) };
        assert_eq!(begun(&event, &policies), None, "of nobody who is known");
        policies.note(Generation(5), &Arc::new(fixture::snapshot()), &[]);
        let told = begun(&event, &policies).unwrap();
        assert_eq!((told.untold, told.flow.rule), (3, RuleId(17)));
        let text = told.flow.to_string();
        assert!(
            text.starts_with("laptop of Ada: tcp 100.96.0.2 port 257 to 10.20.0.10 port 443, new, "),
            "{text}"
        );
    }
}
