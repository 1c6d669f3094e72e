//! The whole daemon: the program itself, real programs on a real interface, real nft, and a control plane that the
//! test plays.

use std::fs;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData};
use aya::programs::{SchedClassifier, TcAttachType};
use nexa_abi::layout::{PeerKey, PeerValue, map};
use nexa_gateway::dataplane::{Attachment, EGRESS, INGRESS};
use nexa_types::{PublicKey, Revision, RuleId};
use nexa_wire::gateway::FromGateway;
use nexa_wire::snapshot::{Rule, Sealed, Snapshot};
use serde_json::value::RawValue;

use super::daemon::{Daemon, Host};
use super::lab::{in_namespace, run, runtime, try_run, wait_for};
use crate::fake_control::FakeControl;

fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../../../crates/nexa-wire/tests/snapshot-v1.json")).unwrap()
}

fn sealed(revision: u64) -> Sealed {
    Sealed::new(Revision(revision), &snapshot()).unwrap()
}

fn is_up() -> bool {
    run("ip -brief link show wg0").contains("UP")
}

/// Whether the programs are on the interface and the guard is in place.
pub fn enforced() -> bool {
    let attached = |direction, name: &str| match Attachment::of_kernel() {
        Attachment::Tcx => {
            let (_, programs) = SchedClassifier::query_tcx("wg0", direction).unwrap();
            programs.iter().any(|program| program.name_as_str() == Some(name))
        }
        Attachment::Clsact => {
            let hook = if name == INGRESS { "ingress" } else { "egress" };
            try_run(&format!("tc filter show dev wg0 {hook}")).1.contains(name)
        }
    };
    attached(TcAttachType::Ingress, INGRESS)
        && attached(TcAttachType::Egress, EGRESS)
        && try_run("nft list table inet nexavpn").0
}

/// How many addresses the programs know.
fn known_addresses(host: &Host) -> usize {
    let pinned = MapData::from_pin(host.path("bpf/nexavpn").join(map::PEERS)).unwrap();
    HashMap::<_, PeerKey, PeerValue>::try_from(Map::HashMap(pinned)).unwrap().keys().count()
}

/// A gateway that has `sealed(5)` in force.
async fn in_force(host: &Host, control: &mut FakeControl, log: &str) -> Daemon {
    let mut daemon = host.start(log);
    let mut connection = control.connection().await;
    assert!(matches!(connection.receive().await, FromGateway::Hello { .. }));
    connection.send(sealed(5)).await;
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) }, "{}", daemon.text());
    daemon.wait_for_log("snapshot in force");
    daemon
}

#[test]
fn without_a_snapshot_all_is_closed_and_the_first_one_opens_the_interface() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut daemon = host.start("log");
            let mut connection = control.connection().await;
            assert!(enforced() && !is_up(), "programs and guard before anything passes");
            assert!(!run("nft list table inet nexavpn").contains("dport 53"));
            let FromGateway::Hello { public_key, applied: None, .. } = connection.receive().await else { panic!() };
            connection.send(sealed(5)).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) }, "{}", daemon.text());
            assert!(enforced() && is_up());
            assert!(run("ss -uln").contains(":51900"), "the tunnel listens");
            let metrics = daemon.metrics();
            for series in [
                "nexavpn_applied_revision 5",
                "nexavpn_control_connected 1",
                "nexavpn_guard_repairs_total 0",
                "nexavpn_build_info{version=",
                "nexavpn_generation ",
                "nexavpn_snapshot_age_seconds ",
                "nexavpn_peer_received_bytes_total{name=\"laptop\",peer=\"0199e7a0-0000-7000-8000-000000000004\"} 0",
                "process_open_fds ",
            ] {
                assert!(metrics.contains(series), "{series} is not in {metrics}");
            }
            assert!(!daemon.text().contains("laptop"), "no names in the log");
            // A restart is the same gateway to its clients.
            daemon.kill();
            let mut daemon = host.start("log-again");
            let mut connection = control.connection().await;
            let FromGateway::Hello { public_key: again, applied, .. } = connection.receive().await else { panic!() };
            assert_eq!((again, applied), (public_key, Some(Revision(5))));
            daemon.wait_for_log("the last good snapshot is in force");
        });
    });
}

#[test]
fn killed_it_enforces_on_and_restarts_without_the_control_plane() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            in_force(&host, &mut control, "log").await.kill();
            assert!(enforced() && is_up(), "a dead daemon still enforces");
            let routes = || run("ip route").replace(" linkdown", "");
            let before = routes();
            control.answer_with(503);
            let mut daemon = host.start("log-again");
            daemon.wait_for_log("the last good snapshot is in force");
            daemon.wait_for_log("answered 503");
            assert!(enforced() && is_up());
            assert_eq!(routes(), before);
            assert!(daemon.metrics().contains("nexavpn_applied_revision 5"));
        });
    });
}

#[test]
fn a_damaged_snapshot_on_disk_is_told_once_and_all_is_denied() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            in_force(&host, &mut control, "log").await.kill();
            assert_eq!(known_addresses(&host), 2);
            let file = host.path("state/snapshot.json");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replace("10.20.0.0/24", "10.0.0.0/8")).unwrap();
            control.answer_with(503);
            let mut daemon = host.start("log-again");
            daemon.wait_for_log("answered 503");
            assert_eq!(daemon.text().matches("is damaged").count(), 1, "{}", daemon.text());
            assert!(enforced());
            assert_eq!(known_addresses(&host), 0, "what an earlier run left is denied too");
            let metrics = daemon.metrics();
            assert!(
                !metrics.contains("nexavpn_applied_revision") && !metrics.contains("nexavpn_peer_"),
                "{metrics}"
            );
        });
    });
}

#[test]
fn a_refused_snapshot_leaves_the_last_good_one_in_force_and_on_disk() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut daemon = host.start("log");
            let mut connection = control.connection().await;
            connection.receive().await;
            connection.send(sealed(5)).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) });
            let mut contradictory = snapshot();
            contradictory.peers.push(contradictory.peers[0].clone());
            connection.send(Sealed::new(Revision(6), &contradictory).unwrap()).await;
            let verdict = connection.receive().await;
            assert!(matches!(verdict, FromGateway::Refused { revision: Revision(6), .. }), "{verdict:?}");
            assert!(daemon.metrics().contains("nexavpn_applied_revision 5"));
            assert!(fs::read_to_string(host.path("state/snapshot.json")).unwrap().contains("\"revision\":5"));
            connection.send(sealed(7)).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(7) });
        });
    });
}

#[test]
fn every_bad_snapshot_is_refused_whole_told_once_and_counted_by_its_cause() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut daemon = host.start("log");
            let mut connection = control.connection().await;
            connection.receive().await;
            connection.send(sealed(5)).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) });
            let text = serde_json::to_string(&snapshot()).unwrap();
            let of_text = |revision, text: String| {
                Sealed::of_text(Revision(revision), RawValue::from_string(text).unwrap())
            };
            let later = format!("{{\"format\":2,{}", &text[1..]);
            let nothing = text.replacen("\"peers\"", "\"pears\"", 1);
            let mut damaged = sealed(9);
            damaged.hash.replace_range(..4, "0000");
            for (bad, cause, told) in [
                (of_text(6, later), "format", "upgrade the gateway"),
                (of_text(7, nothing), "unreadable", "missing field `peers`"),
                (damaged, "hash", "does not match its hash"),
            ] {
                let revision = bad.revision;
                connection.send(bad).await;
                let verdict = connection.receive().await;
                let FromGateway::Refused { revision: refused, reason } = verdict else {
                    panic!("{verdict:?}")
                };
                assert!(refused == revision && reason.contains(told), "{reason}");
                let metrics = daemon.metrics();
                let counted = format!("nexavpn_snapshots_refused_total{{cause=\"{cause}\"}} 1\n");
                assert!(metrics.contains(&counted), "{cause}: {metrics}");
                assert!(metrics.contains("nexavpn_applied_revision 5"));
                let log = daemon.text();
                let tells = |line: &&str| line.contains("snapshot refused") && line.contains(told);
                assert_eq!(log.lines().filter(tells).count(), 1, "{log}");
                assert!(
                    fs::read_to_string(host.path("state/snapshot.json")).unwrap().contains("\"revision\":5")
                );
            }
        });
    });
}

#[test]
fn a_policy_without_room_is_refused_alarms_and_takes_away_also_over_a_restart() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut two_devices = snapshot();
            let mut second = two_devices.peers[0].clone();
            second.device = "0199e7a0-0000-7000-8000-0000000000ff".parse().unwrap();
            second.public_key = PublicKey::from_bytes([7; 32]).unwrap();
            (second.v4, second.v6) = ("100.96.0.9".parse().unwrap(), "fd6e:7861::9".parse().unwrap());
            two_devices.peers.push(second);
            let most = ["--max-rules", &two_devices.rules.len().to_string()];
            let mut daemon = host.start_with("log", &most);
            let mut connection = control.connection().await;
            connection.receive().await;
            connection.send(Sealed::new(Revision(5), &two_devices).unwrap()).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) });
            assert_eq!(known_addresses(&host), 4);

            // One rule too many, and a device less.
            let mut large = two_devices;
            large.peers.remove(0);
            let more = Rule { id: RuleId(4_000), ..large.rules[0].clone() };
            large.rules.push(more);
            connection.send(Sealed::new(Revision(6), &large).unwrap()).await;
            let verdict = connection.receive().await;
            let FromGateway::Refused { revision: Revision(6), reason } = verdict else {
                panic!("{verdict:?}")
            };
            assert!(reason.contains("RULE_COUNTERS"), "{reason}");
            let metrics = daemon.metrics();
            assert!(metrics.contains("nexavpn_policy_overflows_total 1\n"), "{metrics}");
            assert!(metrics.contains("nexavpn_applied_revision 5"), "{metrics}");
            wait_for("the removed device to be gone", || known_addresses(&host) == 2);

            daemon.kill();
            let mut daemon = host.start_with("log-again", &most);
            let mut connection = control.connection().await;
            connection.receive().await;
            assert!(daemon.text().contains("the last good snapshot is in force"), "{}", daemon.text());
            assert_eq!(known_addresses(&host), 2, "it does not come back");
            large.rules.pop();
            connection.send(Sealed::new(Revision(7), &large).unwrap()).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(7) });
            assert!(daemon.metrics().contains("nexavpn_applied_revision 7"));
        });
    });
}

#[test]
fn stopped_it_leaves_programs_and_guard_and_takes_the_tunnel_down() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let log = in_force(&host, &mut control, "log").await.stop();
            assert!(log.contains("programs and guard stay"), "{log}");
            assert!(enforced());
            assert!(!run("ss -uln").contains(":51900"));
        });
    });
}

#[test]
fn a_second_one_for_the_same_interface_is_refused_and_does_no_harm() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut first = in_force(&host, &mut control, "log").await;
            let mut second = host.start("log-second");
            assert_eq!(second.child.wait().unwrap().code(), Some(1));
            assert!(second.text().contains("another nexa-gateway serves wg0"), "{}", second.text());
            assert!(first.child.try_wait().unwrap().is_none() && enforced() && is_up());
        });
    });
}

#[test]
fn a_deleted_interface_is_made_again_with_programs_before_it_is_up() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let mut daemon = in_force(&host, &mut control, "log").await;
            run("ip link delete wg0");
            daemon.wait_for_log("starting everything anew");
            daemon.wait_for_log("the last good snapshot is in force");
            assert!(enforced() && is_up());
        });
    });
}

#[test]
fn an_exposed_key_stops_it() {
    in_namespace(|| {
        let host = Host::new("127.0.0.1:9");
        fs::create_dir(host.path("state")).unwrap();
        write_readable(&host.path("state/private.key"));
        let mut daemon = host.start("log");
        assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
        assert!(daemon.text().contains("chmod 600"), "{}", daemon.text());
    });
}

fn write_readable(path: &Path) {
    fs::write(path, "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n").unwrap();
    run(&format!("chmod 644 {}", path.display()));
}
