//! What is refused is told, with the reason and the rule that came closest: to who asks, to who follows, and to the control
//! plane.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use nexa_types::{Revision, RuleId};
use nexa_wire::gateway::{FromGateway, RuleCounters};
use nexa_wire::local::{Answer, Difference, NearMiss, PeerDrop, Phase};
use nexa_wire::snapshot::{Sealed, Snapshot};
use tokio::time::timeout;

use super::client::{Client, snapshot};
use super::daemon::{Daemon, Host};
use super::lab::{PATIENCE, in_namespace, runtime, wait_for};
use super::local::in_force;
use crate::fake_control::{Connection, FakeControl};

/// A daemon with a client whose device is the snapshot's laptop.
struct Scene {
    host: Host,
    daemon: Daemon,
    client: Client,
    connection: Connection,
    snapshot: Snapshot,
    _control: FakeControl,
}

impl Scene {
    async fn set() -> Self {
        let mut control = FakeControl::start().await;
        let host = Host::new(&control.address.to_string());
        let client = Client::start();
        let snapshot = snapshot(client.public_key);
        let (daemon, public_key, connection) = in_force(&host, &mut control, &snapshot, &[]).await;
        client.connect_to(public_key);
        client.wait_for_ping("100.96.0.1");
        client.route_to("10.20.0.0/24");
        Self { host, daemon, client, connection, snapshot, _control: control }
    }

    /// Sends datagrams that no rule speaks of.
    fn send(&self, port: u16, datagrams: usize) {
        self.client.place.inside(|| {
            let socket = UdpSocket::bind("100.96.0.2:0").unwrap();
            // Each longer than the one before, so that none are joined to one on their way.
            for length in 1..=datagrams {
                socket.send_to(&vec![0; length], ("10.20.0.10", port)).unwrap();
            }
        });
    }

    fn drops(&self) -> Vec<PeerDrop> {
        let (_, text) = self.host.ask("drops --json --peer laptop");
        let Ok(Answer::Drops { drops, .. }) = serde_json::from_str(&text) else { panic!("{text}") };
        drops
    }

    /// Packets in what is told of a port; of all without one.
    fn told(&self, port: Option<u16>) -> u64 {
        let of_port = |drop: &&PeerDrop| {
            port.is_none() || port == drop.dropped.route.map(|route| route.destination_port)
        };
        self.drops().iter().filter(of_port).map(|drop| drop.dropped.packets).sum()
    }

    /// The next frame of the gateway that this reads.
    async fn reported<T>(&mut self, mut read: impl FnMut(FromGateway) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(read) = read(self.connection.receive().await) {
                    return read;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("the gateway does not report it")
    }
}

/// `nexa-gateway drops --follow`.
struct Follower {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn start(host: &Host, verb: &str, words: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexa-gateway"));
        command.env("NEXA_GATEWAY_CONFIG", "/dev/null").args([verb, "--follow"]);
        command.args(words.split_whitespace()).arg("--state-dir").arg(host.path("state"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_follows_flows_hears_of_each_that_begins() {
    in_namespace(|| {
        runtime().block_on(async {
            let scene = Scene::set().await;
            let mut flows = Follower::start(&scene.host, "flows", "--json --peer laptop");
            let mut next = || match serde_json::from_str(&flows.line()).unwrap() {
                Answer::Flows { flows, .. } => flows,
                other => panic!("{other:?}"),
            };
            assert_eq!(next(), [], "only those that begin from now on");
            let send = ["bash", "-c", "echo > /dev/tcp/10.20.0.10/443"];
            let mut sender = scene.client.place.command("").args(send).stderr(Stdio::null()).spawn().unwrap();
            let begun = loop {
                if let Some(flow) = next().into_iter().find(|flow| flow.destination_port == 443) {
                    break flow;
                }
            };
            assert_eq!(
                (begun.peer.name.as_str(), begun.rule, begun.phase),
                ("laptop", RuleId(17), Phase::New)
            );
            let _ = sender.kill();
            let _ = sender.wait();
        });
    });
}

#[test]
fn what_is_refused_is_told_to_who_asks_who_follows_and_the_control_plane() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::set().await;
            let mut everybody = Follower::start(&scene.host, "drops", "");
            let mut as_json = Follower::start(&scene.host, "drops", "--json --peer 100.96.0.2");
            let first: Answer = serde_json::from_str(&as_json.line()).unwrap();
            assert!(matches!(first, Answer::Drops { .. }), "those that were come first: {first:?}");

            let send = ["bash", "-c", "echo > /dev/tcp/10.20.0.10/8443"];
            let mut sender = scene.client.place.command("").args(send).stderr(Stdio::null()).spawn().unwrap();
            wait_for("the refusal to be told", || scene.told(Some(8443)) > 0);
            let words = "laptop of Ada: tcp 100.96.0.2 port ";
            let rest = "to 10.20.0.10 port 8443, refused, because no rule speaks of it; rule 17 allows 443, you used 8443 (";
            let (success, text) = scene.host.ask("drops --peer laptop");
            assert!(success, "{text}");
            let is_meant = |line: &str| line.contains(words) && line.contains(rest);
            assert!(text.lines().any(is_meant), "{text}");
            while !is_meant(&everybody.line()) {}
            let followed = loop {
                let Answer::Drops { drops, .. } = serde_json::from_str(&as_json.line()).unwrap() else { panic!() };
                if let Some(drop) = drops.into_iter().next() {
                    break drop;
                }
            };
            let device = scene.snapshot.peers[0].device;
            assert_eq!(followed.peer.unwrap().device, device);
            let _ = sender.kill();
            let _ = sender.wait();

            // The control plane hears of it without names, and of what was counted.
            let report = scene
                .reported(|frame| match frame {
                    FromGateway::Drops { drops, .. } => drops.into_iter().find(|report| {
                        report.dropped.route.is_some_and(|route| route.destination_port == 8443)
                    }),
                    _ => None,
                })
                .await;
            let differs = Difference::Port { allowed: vec!["443".parse().unwrap()] };
            assert_eq!(report.dropped.nearest, Some(NearMiss { rule: RuleId(17), differs }));
            assert_eq!((report.device, report.dropped.rule), (Some(device), None));
            scene.send(9999, 1);
            let denied = |rules: Vec<RuleCounters>| {
                rules.into_iter().find(|rule| rule.rule.is_none() && rule.denied_packets > 0)
            };
            scene
                .reported(|frame| match frame {
                    FromGateway::Counters(counters) => denied(counters.rules),
                    _ => None,
                })
                .await;
            let (success, text) = scene.host.ask("drops --peer lapto");
            assert!(!success && text.contains("did you mean laptop?"), "{text}");
            let metrics = scene.daemon.metrics();
            assert!(!metrics.contains("nexavpn_events_total{event=\"drop\"} 0"), "{metrics}");

            // A follower that stops reading and one that is gone cost nothing.
            drop(everybody);
            scene.send(9998, 1);
            wait_for("the next one", || scene.told(Some(9998)) > 0);
            // Names of people are not in the log.
            let log = scene.daemon.text();
            assert!(!log.contains("laptop") && !log.contains("Ada"), "{log}");
            // The one who still follows learns that the daemon ends.
            drop(scene.daemon.stop());
            let mut rest = String::new();
            as_json.lines.read_to_string(&mut rest).unwrap();
            assert!(!as_json.child.wait().unwrap().success());
        });
    });
}

#[test]
fn a_flood_is_told_in_a_few_records_that_add_up_to_what_was_dropped() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::set().await;
            scene.send(9999, 500);
            wait_for("the flood to be told", || scene.told(Some(9999)) > 0);
            // What was not told is told with the next that is, which may not be the very next.
            wait_for("the last one to be told", || {
                scene.send(9997, 1);
                scene.told(Some(9997)) > 0
            });
            let dropped = |daemon: &mut Daemon| -> u64 {
                let metrics = daemon.metrics();
                let of_laptop = metrics
                    .lines()
                    .filter(|line| line.starts_with("nexavpn_peer_drops_total{name=\"laptop\""));
                of_laptop.map(|line| line.split(' ').next_back().unwrap().parse::<u64>().unwrap()).sum()
            };
            wait_for("the records to add up", || {
                // One more, should those before it not have been told, and then no other until it has to be.
                scene.send(9996, 1);
                (0..100).any(|_| {
                    let counted = dropped(&mut scene.daemon);
                    // A flood loses some on its way to the gateway.
                    counted > 50 && scene.told(None) == counted
                })
            });
            let records = scene.drops();
            assert!(records.len() < 50, "{} records", records.len());
            assert!(records.iter().any(|drop| drop.dropped.untold_packets > 0), "{records:?}");
            let metrics = scene.daemon.metrics();
            assert!(!metrics.contains("nexavpn_events_untold_total 0"), "{metrics}");
        });
    });
}

#[test]
fn how_the_policy_is_enforced_is_reported_with_what_was_refused_last() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut scene = Scene::set().await;
            let health = |frame| match frame {
                FromGateway::Health(health) => Some(health),
                _ => None,
            };
            let verified =
                scene.reported(|frame| health(frame).filter(|health| health.drift_entries.is_some())).await;
            assert_eq!((verified.drift_entries, &verified.refusal), (Some(0), &None));
            assert!(verified.generation.0 > 0 && verified.content_hash.is_some());

            let mut contradicting = scene.snapshot.clone();
            contradicting.peers.push(contradicting.peers[0].clone());
            scene.connection.send(Sealed::new(Revision(6), &contradicting).unwrap()).await;
            let refused =
                scene.reported(|frame| health(frame).filter(|health| health.refusal.is_some())).await;
            let refusal = refused.refusal.unwrap();
            assert_eq!(refusal.revision, Revision(6));
            assert!(refusal.reason.contains("is there twice"), "{}", refusal.reason);
            assert_eq!(refused.generation, verified.generation);

            scene.connection.send(Sealed::new(Revision(7), &scene.snapshot).unwrap()).await;
            let good = scene.reported(|frame| health(frame).filter(|health| health.refusal.is_none())).await;
            assert!(good.generation > refused.generation);
        });
    });
}
