//! Rules that begin and end by themselves: with a daemon, and without.

use chrono::{DateTime, TimeDelta, Utc};
use nexa_types::{Revision, RuleId, When};
use nexa_wire::gateway::FromGateway;
use nexa_wire::local::{Answer, Difference, Explained, Word};
use nexa_wire::snapshot::{Sealed, Snapshot, Target};

use super::daemon::{Daemon, Host};
use super::lab::{PATIENCE, Packet, UDP, Wire, in_namespace, runtime, wait_for};
use crate::fake_control::FakeControl;

/// Long enough to put a policy in force and to see it, on a loaded machine too.
const SOON: TimeDelta = TimeDelta::seconds(4);

/// Of the rule with times, and of one without.
const PORTS: [u16; 2] = [53, 54];

/// UDP to one port by a rule that speaks at times, and to another by one that always does.
fn snapshot(when: When) -> Snapshot {
    let text = include_str!("../../../crates/nexa-wire/tests/snapshot-v1.json");
    let mut snapshot: Snapshot = serde_json::from_str(text).unwrap();
    let (mut resource, mut rule) = (snapshot.resources.remove(0), snapshot.rules.remove(0));
    for (port, when) in PORTS.into_iter().zip([when, When::ALWAYS]) {
        resource.id = format!("00000000-0000-0000-0000-0000000000{port}").parse().unwrap();
        resource.traffic =
            serde_json::from_str(&format!(r#"[{{"protocol": "udp", "ports": "{port}"}}]"#)).unwrap();
        rule.id = RuleId(port.into());
        rule.what = vec![Target::Resource(resource.id)];
        rule.when = when;
        snapshot.resources.push(resource.clone());
        snapshot.rules.push(rule.clone());
    }
    snapshot
}

/// A daemon with the policy in force, and when that begins or ends something.
async fn in_force(
    host: &Host,
    control: &mut FakeControl,
    when: impl FnOnce(DateTime<Utc>) -> When,
) -> (Daemon, DateTime<Utc>) {
    let mut daemon = host.start("log");
    let mut connection = control.connection().await;
    let FromGateway::Hello { .. } = connection.receive().await else { panic!() };
    let soon = Utc::now() + SOON;
    connection.send(Sealed::new(Revision(5), &snapshot(when(soon))).unwrap()).await;
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) }, "{}", daemon.text());
    daemon.wait_for_log("snapshot in force");
    (daemon, soon)
}

fn from_peer(source_port: u16, port: u16) -> Packet {
    Packet::udp("100.96.0.2", "10.20.0.10", source_port, port)
}

/// What comes to the LAN until a packet to the port that is always allowed does, and that: packets keep their order.
fn seen_before(lan: &mut Wire, canary: u16) -> (Vec<Packet>, Packet) {
    let mut seen = Vec::new();
    loop {
        let packet = lan.receive(PATIENCE, |packet| packet.protocol == UDP);
        let packet = packet.expect("the canary comes through");
        if packet.destination_port == canary {
            return (seen, packet);
        }
        seen.push(packet);
    }
}

#[test]
fn a_killed_daemon_s_rule_ends_in_time_for_new_flows_and_for_those_that_it_had() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut lan = Wire::up("lan0", &["10.20.0.1/24"]);
            let (daemon, ends_at) =
                in_force(&host, &mut control, |soon| When::new(None, Some(soon), vec![]).unwrap()).await;
            daemon.kill();
            // The interface stays, and so do programs and maps. What the engine would write, the test does.
            let mut tunnel = Wire::make("wg0");
            let [timed, always] = PORTS;
            tunnel.send(&from_peer(40_000, timed).bytes());
            let admitted = lan.receive(PATIENCE, |packet| packet.destination_port == timed).unwrap();
            lan.send(&admitted.reply().bytes());
            let answers = |packet: &Packet| *packet == from_peer(40_000, timed).reply();
            tunnel.receive(PATIENCE, answers).expect("the answer comes back");
            assert!(Utc::now() < ends_at, "the machine is too slow for this test");

            wait_for("the end of the rule", || Utc::now() >= ends_at);
            for port in [40_000, 40_001] {
                tunnel.send(&from_peer(port, timed).bytes());
            }
            lan.send(&admitted.reply().bytes());
            tunnel.send(&from_peer(40_002, always).bytes());
            let (seen, canary) = seen_before(&mut lan, always);
            assert_eq!(seen, []);
            // The answer to it was sent after that to the flow that has ended, and is the first to come back.
            lan.send(&canary.reply().bytes());
            let back = tunnel.receive(PATIENCE, |packet| packet.protocol == UDP).unwrap();
            assert_eq!(back, from_peer(40_002, always).reply());
        });
    });
}

fn explain(host: &Host) -> Explained {
    let (_, text) = host.ask("explain --json --peer laptop --dst 10.20.0.10 --proto udp --port 53");
    match serde_json::from_str(&text) {
        Ok(Answer::Explained(explained)) => explained,
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn a_running_daemon_lets_rules_begin_and_end_by_itself() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let lasts = TimeDelta::seconds(3);
            let times = |soon| When::new(Some(soon), Some(soon + lasts), vec![]).unwrap();
            let (daemon, begins_at) = in_force(&host, &mut control, times).await;
            let before = explain(&host);
            assert_eq!((&before.policy, &before.kernel), (&Word::NoRule, &Word::NoRule));
            let nearest = before.nearest.unwrap();
            assert_eq!(
                (nearest.rule, nearest.differs),
                (RuleId(53), Difference::Time { next: Some(begins_at) })
            );

            let allow = Word::Allow { rule: RuleId(53) };
            wait_for("the rule's beginning in the kernel", || explain(&host).kernel == allow);
            let late = Utc::now() - begins_at;
            assert!(TimeDelta::zero() <= late, "{late}");
            wait_for("the rule's end in the kernel", || explain(&host).kernel == Word::NoRule);
            let late = Utc::now() - begins_at - lasts;
            assert!(TimeDelta::zero() <= late, "{late}");
            wait_for("the end in the policy", || explain(&host).policy == Word::NoRule);
            let (success, text) = host.ask("verify");
            assert!(success, "{text}");
            assert!(!daemon.text().contains("cannot be renewed"), "{}", daemon.text());
        });
    });
}
