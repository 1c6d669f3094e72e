//! Every reason to drop a packet is reached, and counted where it belongs and nowhere else.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use chrono::TimeDelta;
use nexa_abi::engine::Limit;
use nexa_abi::layout::{Direction, MAX_PEERS, Profile, State, map};
use nexa_abi::reason::Reason;
use nexa_differential::craft::{echo_reply, end, flag, later_fragment, tcp, udp};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS, Options};
use nexa_wire::snapshot::{Effect, Snapshot};

use crate::devices::to_each_other;
use crate::flows::{granted, revoked};
use crate::restart::apart;
use crate::{Answer, apply, apply_for, flat, run};

/// More flows than the cases before the one of the limit begin; no other comes within an hour.
const LIMIT: Limit = Limit { interval_ns: 3_600_000_000_000, ahead_ns: 8 * 3_600_000_000_000 };

/// The device that is granted something, and the one that is not.
const FIRST: &str = "00000000-0000-0000-0000-000000000001";

/// One packet that is dropped.
struct Case {
    direction: Direction,
    packet: Vec<u8>,
    /// What makes it so, under [`granted`] and without flows.
    prepare: fn(&mut Dataplane, &Path),
    /// Whose drop it is.
    device: Option<&'static str>,
    /// Who refuses it, where rules were asked.
    rule: Option<&'static str>,
}

fn cases(reason: Reason) -> Vec<Case> {
    use Direction::{Egress, Ingress};
    let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
    let nobody = end("100.96.0.77", 40_000);
    let (asked, answer) = (tcp(peer, server, flag::SYN), tcp(server, peer, flag::ACK));
    let both = |from: Vec<u8>, to: Vec<u8>, prepare, device| {
        [(Ingress, from), (Egress, to)]
            .map(|(direction, packet)| Case { direction, packet, prepare, device, rule: None })
            .into()
    };
    let nothing = |_: &mut Dataplane, _: &Path| {};
    match reason {
        Reason::UnknownSource => {
            let packet = tcp(nobody, server, flag::SYN);
            vec![Case { direction: Ingress, packet, prepare: nothing, device: None, rule: None }]
        }
        Reason::UnknownPeer => {
            let packet = tcp(server, nobody, flag::ACK);
            vec![Case { direction: Egress, packet, prepare: nothing, device: None, rule: None }]
        }
        Reason::NoRule => {
            let elsewhere = tcp(peer, end("10.20.1.10", 443), flag::SYN);
            let rule = Some("default_deny");
            let ended = |dataplane: &mut Dataplane, _: &Path| flow_under(dataplane, &revoked());
            vec![
                Case { direction: Ingress, packet: elsewhere, prepare: nothing, device: Some(FIRST), rule },
                Case { direction: Egress, packet: answer, prepare: ended, device: Some(FIRST), rule },
            ]
        }
        Reason::Excluded => {
            let rule = Some("default_deny");
            let other = end("100.96.0.3", 443);
            let (asked, answer) = (tcp(peer, other, flag::SYN), tcp(other, peer, flag::ACK));
            let ended = |dataplane: &mut Dataplane, _: &Path| {
                apply(dataplane, &to_each_other());
                let asked = tcp(end("100.96.0.2", 40_000), end("100.96.0.3", 443), flag::SYN);
                assert_eq!(run(dataplane, INGRESS, &asked), Answer::Pass);
                apply(dataplane, &granted());
            };
            vec![
                Case { direction: Ingress, packet: asked, prepare: nothing, device: Some(FIRST), rule },
                Case { direction: Egress, packet: answer, prepare: ended, device: Some(FIRST), rule },
            ]
        }
        Reason::RuleDeny => {
            let rule = Some("7");
            let denied = |dataplane: &mut Dataplane, _: &Path| apply(dataplane, &denying());
            let ended = |dataplane: &mut Dataplane, _: &Path| flow_under(dataplane, &denying());
            vec![
                Case { direction: Ingress, packet: asked, prepare: denied, device: Some(FIRST), rule },
                Case { direction: Egress, packet: answer, prepare: ended, device: Some(FIRST), rule },
            ]
        }
        Reason::NoFlow => both(echo_reply(peer, server), answer, nothing, Some(FIRST)),
        Reason::LeaseExpired => {
            let ended =
                |dataplane: &mut Dataplane, _: &Path| apply_for(dataplane, &granted(), TimeDelta::zero());
            both(asked, answer, ended, Some(FIRST))
        }
        Reason::Malformed => both(asked[..30].into(), answer[..30].into(), nothing, None),
        Reason::Fragment => {
            both(later_fragment(&asked, 7, 2), later_fragment(&answer, 7, 2), nothing, Some(FIRST))
        }
        Reason::ExtensionHeader => {
            let (peer, server) = (end("fd6e:7861::2", 40_000), end("fd20::10", 53));
            let [mut from, mut to] = [udp(peer, server), udp(server, peer)];
            // A routing header.
            (from[6], to[6]) = (43, 43);
            both(from, to, nothing, None)
        }
        Reason::Inconsistent => both(asked, answer, swap_profile, Some(FIRST)),
        Reason::NewFlowLimit => {
            let spend = |dataplane: &mut Dataplane, _: &Path| {
                let ask = |port| udp(end("100.96.0.2", port), end("10.20.0.10", 53));
                let mut ports = 1..;
                while run(dataplane, INGRESS, &ask(ports.next().unwrap())) == Answer::Pass {}
            };
            vec![Case { direction: Ingress, packet: asked, prepare: spend, device: Some(FIRST), rule: None }]
        }
    }
}

fn denying() -> Snapshot {
    let mut snapshot = granted();
    snapshot.rules[0].effect = Effect::Deny;
    snapshot
}

/// Begins a flow, and then has this policy.
fn flow_under(dataplane: &mut Dataplane, snapshot: &Snapshot) {
    let asked = tcp(end("100.96.0.2", 40_000), end("10.20.0.10", 443), flag::SYN);
    assert_eq!(run(dataplane, INGRESS, &asked), Answer::Pass);
    apply(dataplane, snapshot);
}

/// Puts another's profile in the first device's place, as a swap that is seen half-way would.
fn swap_profile(dataplane: &mut Dataplane, pin_dir: &Path) {
    let pinned = |name| Map::Array(MapData::from_pin(pin_dir.join(name)).unwrap());
    let state: Array<_, State> = pinned(map::STATE).try_into().unwrap();
    let mut profiles: Array<_, Profile> = pinned(map::PROFILES).try_into().unwrap();
    let (_, installer) = dataplane.intent().unwrap();
    let index = |device: &str| {
        installer.devices().find(|(_, found)| found.to_string() == device).map(|(index, _)| index).unwrap()
    };
    let position = state.get(&0, 0).unwrap().bank() * MAX_PEERS + index(FIRST);
    let profile = profiles.get(&position, 0).unwrap();
    profiles.set(position, Profile { peer: profile.peer + 1, ..profile }, 0).unwrap();
}

/// What a drop adds to the counters.
fn counted(reason: Reason, case: &Case) -> BTreeMap<String, u64> {
    let (reason, bytes) = (reason.as_str(), case.packet.len() as u64);
    let direction = if case.direction == Direction::Ingress { "ingress" } else { "egress" };
    let mut counted = BTreeMap::from([(format!("{direction} {reason}"), 1)]);
    if let Some(device) = case.device {
        counted.insert(format!("{device} drops {reason}"), 1);
        if case.direction == Direction::Ingress {
            counted.insert(format!("{device} received packets"), 1);
            counted.insert(format!("{device} received bytes"), bytes);
        }
    }
    if let Some(rule) = case.rule {
        counted.insert(format!("rule {rule} denied packets"), 1);
        counted.insert(format!("rule {rule} denied bytes"), bytes);
    }
    counted
}

#[test]
fn each_reason_is_reached_and_nothing_else_is_counted() {
    apart(|pin_dir| {
        let options = Options {
            pin_dir: Some(pin_dir.to_owned()),
            max_flows: 4096,
            new_flow_limit: LIMIT,
            ..Options::default()
        };
        let mut dataplane = Dataplane::open(&options).unwrap();
        // The limit comes last: what it refuses from then on would be of no other reason.
        let (limit, others): (Vec<&Reason>, Vec<_>) =
            Reason::ALL.iter().partition(|reason| **reason == Reason::NewFlowLimit);
        for reason in others.into_iter().chain(limit) {
            for case in cases(*reason) {
                dataplane.distrust();
                apply(&mut dataplane, &granted());
                dataplane.forget_flows().unwrap();
                (case.prepare)(&mut dataplane, pin_dir);
                let before = flat(&dataplane.counters().unwrap());
                let program = if case.direction == Direction::Ingress { INGRESS } else { EGRESS };
                assert_eq!(run(&dataplane, program, &case.packet), Answer::Drop, "{reason:?}");
                let mut moved = flat(&dataplane.counters().unwrap());
                for (name, count) in &mut moved {
                    *count -= before.get(name).copied().unwrap_or_default();
                }
                moved.retain(|_, count| *count > 0);
                assert_eq!(moved, counted(*reason, &case), "{reason:?} {:?}", case.direction);
            }
        }
    });
}
