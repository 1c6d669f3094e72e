//! Questions to a running daemon: what it explains is what happens to packets, and what it verifies is what is in the
//! kernel's maps.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData};
use nexa_abi::layout::{
    ALLOW, DestKey, Family, MAX_SET, PeerKey, PeerValue, PortsKey, PortsValue, Profile, State, map,
};
use nexa_types::{PublicKey, Revision};
use nexa_wire::gateway::FromGateway;
use nexa_wire::local::{Answer, Exclusion, Explained, Verified, Word};
use nexa_wire::snapshot::{Sealed, Snapshot};

use super::client::Client;
use super::daemon::{Daemon, Host};
use super::lab::{PATIENCE, Wire, in_namespace, runtime, wait_for};
use crate::fake_control::{Connection, FakeControl};

fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../../../crates/nexa-wire/tests/snapshot-v1.json")).unwrap()
}

/// A daemon that has `snapshot` in force, with its key and its connection.
pub async fn in_force(
    host: &Host,
    control: &mut FakeControl,
    snapshot: &Snapshot,
    settings: &[&str],
) -> (Daemon, PublicKey, Connection) {
    let mut daemon = host.start_with("log", settings);
    let mut connection = control.connection().await;
    let FromGateway::Hello { public_key, .. } = connection.receive().await else { panic!() };
    connection.send(Sealed::new(Revision(5), snapshot).unwrap()).await;
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) }, "{}", daemon.text());
    daemon.wait_for_log("snapshot in force");
    (daemon, public_key, connection)
}

fn explain(host: &Host, words: &str) -> Explained {
    let (_, text) = host.ask(&format!("explain --json {words}"));
    match serde_json::from_str(&text) {
        Ok(Answer::Explained(explained)) => explained,
        other => panic!("{other:?}: {text}"),
    }
}

/// What `verify` says, after its exit code was the one that it promises.
fn verify(host: &Host) -> Verified {
    let (success, text) = host.ask("verify --json");
    let Ok(Answer::Verified(verified)) = serde_json::from_str(&text) else { panic!("{text}") };
    assert_eq!(success, verified.drift() == 0, "{text}");
    verified
}

/// A map of the daemon, as somebody else opens it.
fn pinned(host: &Host, name: &str) -> MapData {
    MapData::from_pin(host.path("bpf/nexavpn").join(name)).unwrap()
}

fn ports(host: &Host) -> LpmTrie<MapData, PortsKey, PortsValue> {
    Map::LpmTrie(pinned(host, map::PORTS)).try_into().unwrap()
}

#[test]
fn what_is_explained_is_what_happens_to_packets() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let client = Client::start();
            let mut snapshot = snapshot();
            snapshot.peers[0].public_key = client.public_key;
            let (mut daemon, public_key, _connection) = in_force(&host, &mut control, &snapshot, &[]).await;
            let mut lan = Wire::up("lan0", &["10.20.0.1/24"]);
            client.connect_to(public_key);
            client.wait_for_ping("100.96.0.1");
            client.route_to("10.20.0.0/24");
            let dropped = |daemon: &mut Daemon| {
                let metrics = daemon.metrics();
                let line = metrics.lines().find(|line| {
                    line.starts_with("nexavpn_drops_total{direction=\"ingress\",reason=\"no_rule\"}")
                });
                line.unwrap().split(' ').next_back().unwrap().parse::<u64>().unwrap()
            };
            for (destination, what) in [
                ("169.254.169.254", Exclusion::Metadata),
                ("100.96.0.1", Exclusion::Gateway),
                ("fd6e:7861::99", Exclusion::TunnelPool),
            ] {
                let words = format!("--peer laptop --dst {destination} --proto tcp --port 80");
                let explained = explain(&host, &words);
                let word = Word::Excluded { what };
                assert_eq!((&explained.policy, &explained.kernel), (&word, &word), "{words}");
            }
            for (protocol, number, port, allowed) in
                [("tcp", 6, 443, true), ("tcp", 6, 8443, false), ("udp", 17, 443, false)]
            {
                let words = format!("--peer laptop --dst 10.20.0.10 --proto {protocol} --port {port}");
                let explained = explain(&host, &words);
                let word = if allowed { Word::Allow { rule: nexa_types::RuleId(17) } } else { Word::NoRule };
                assert_eq!((&explained.policy, &explained.kernel), (&word, &word), "{words}");

                let before = dropped(&mut daemon);
                let send = ["bash", "-c", &format!("echo > /dev/{protocol}/10.20.0.10/{port}")];
                let mut sender = client.place.command("").args(send).stderr(Stdio::null()).spawn().unwrap();
                if allowed {
                    let wanted = |packet: &super::lab::Packet| {
                        packet.protocol == number && packet.destination_port == port
                    };
                    lan.receive(PATIENCE, wanted).expect("an allowed packet goes on");
                    assert_eq!(dropped(&mut daemon), before);
                } else {
                    wait_for("a drop that is counted", || dropped(&mut daemon) > before);
                }
                let _ = sender.kill();
                let _ = sender.wait();
            }
            let (success, text) =
                host.ask("explain --peer 100.96.0.2 --dst 10.20.0.10 --proto tcp --port 8443");
            assert!(success && text.contains("nearest: rule 17 allows 443, you used 8443"), "{text}");
            let (_, text) = host.ask("explain --peer laptop --dst fd20::10 --proto icmp");
            assert!(text.contains("allowed by rule 17") && text.contains("kernel: the same"), "{text}");
            let (_, text) = host.ask("flows --peer laptop");
            let flow = |words: &str| {
                text.lines().any(|line| line.starts_with("laptop of Ada: ") && line.contains(words))
            };
            assert!(flow("to 10.20.0.10 port 443, new, allowed by rule 17, last heard"), "{text}");
            assert!(flow("icmp 100.96.0.2 to 100.96.0.1, answered, allowed without a rule"), "{text}");
            assert!(!text.contains("8443"), "what is refused makes no flow: {text}");
            assert!(host.ask("flows --peer lapto").1.contains("did you mean laptop?"));
            let (_, text) = host.ask("status");
            assert!(text.contains("peer: laptop of Ada") && text.contains("endpoint: 192.0.2.21:"), "{text}");
            assert!(text.contains("snapshot: revision 5") && text.contains("latest handshake"), "{text}");
        });
    });
}

#[test]
fn series_are_told_as_the_settings_say() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let settings = ["--rule-metrics=on", "--peer-metrics=off", "--wireguard-metrics=on"];
            let client = Client::start();
            let mut snapshot = snapshot();
            snapshot.peers[0].public_key = client.public_key;
            let (mut daemon, public_key, _connection) =
                in_force(&host, &mut control, &snapshot, &settings).await;
            client.connect_to(public_key);
            client.wait_for_ping("100.96.0.1");
            let answer = |text: &str| serde_json::from_str::<Answer>(text).unwrap();
            let Answer::Flows { total: 1.., .. } = answer(&host.ask("flows --json").1) else { panic!() };
            let metrics = daemon.metrics();
            let labels = format!(
                "{{allowed_ips=\"100.96.0.2/32,fd6e:7861::2/128\",interface=\"wg0\",public_key=\"{}\"}}",
                client.public_key
            );
            for name in ["sent_bytes_total", "received_bytes_total", "latest_handshake_seconds"] {
                let line =
                    metrics.lines().find(|line| line.starts_with(&format!("wireguard_{name}{labels} ")));
                assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{name}: {metrics}");
            }
            assert!(
                metrics.contains("nexavpn_rule_packets_total{rule=\"implicit\",verdict=\"allow\"}"),
                "{metrics}"
            );
            assert!(!metrics.contains("nexavpn_peer_"), "{metrics}");
            daemon.kill();

            let mut daemon = host.start("log-again");
            daemon.wait_for_log("the last good snapshot is in force");
            let metrics = daemon.metrics();
            assert!(
                metrics.contains("nexavpn_rule_packets_total{rule=\"default_deny\",verdict=\"deny\"}"),
                "{metrics}"
            );
            assert!(metrics.contains("nexavpn_peer_received_bytes_total"), "{metrics}");
            assert!(!metrics.contains("implicit") && !metrics.contains("\nwireguard_"), "{metrics}");
        });
    });
}

#[test]
fn what_somebody_else_writes_to_the_maps_is_found_told_and_written_over() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let (mut daemon, _, _connection) = in_force(&host, &mut control, &snapshot(), &[]).await;
            let clean = verify(&host);
            assert_eq!(clean.drift(), 0, "{clean}");
            assert!(clean.maps.iter().all(|map| map.equal > 0), "{clean}");

            // Every way to grant oneself something, or to take it from others, with what must be found of it.
            let all_ports: Vec<_> = ports(&host).iter().map(Result::unwrap).collect();
            let (key, value) = all_ports[0];
            let forged = PortsValue::new(value.verdict(), value.slot(), 9, value.not_after_ns);
            let everything =
                Key::new(PortsKey::CLASS_BITS, PortsKey { protocol: 0, port: [0; 2], ..key.data() });
            let high = Key::new(DestKey::FIXED_BITS, DestKey::new(MAX_SET, Family::V4, [0; 16]));
            let mut dest: LpmTrie<_, DestKey, u32> =
                Map::LpmTrie(pinned(&host, map::DEST)).try_into().unwrap();
            let mut peers: HashMap<_, PeerKey, PeerValue> =
                Map::HashMap(pinned(&host, map::PEERS)).try_into().unwrap();
            let mut profiles: Array<_, Profile> =
                Map::Array(pinned(&host, map::PROFILES)).try_into().unwrap();
            let stranger = PeerKey { family: 4, address: [7; 16] };
            type Harm<'a> = Box<dyn FnMut() + 'a>;
            let harms: [(&str, [u64; 3], Harm<'_>); 6] = [
                ("PORTS", [1, 0, 0], Box::new(|| ports(&host).remove(&key).unwrap())),
                (
                    "PORTS",
                    [0, 0, 1],
                    Box::new(|| {
                        let (key, _) = ports(&host).iter().next().unwrap().unwrap();
                        ports(&host).insert(&key, forged, 0).unwrap();
                    }),
                ),
                ("PORTS", [0, 1, 0], Box::new(|| ports(&host).insert(&everything, forged, 0).unwrap())),
                ("DEST", [0, 1, 0], Box::new(|| dest.insert(&high, 1, 0).unwrap())),
                (
                    "PEERS",
                    [0, 1, 0],
                    Box::new(|| peers.insert(stranger, PeerValue { peer: u32::MAX }, 0).unwrap()),
                ),
                (
                    "PROFILES",
                    [0, 2, 0],
                    Box::new(|| {
                        let profile = Profile { peer: 77, lease_until_ns: u64::MAX, ..Profile::default() };
                        // In both banks: whichever is live; the other is found once it is.
                        for position in [76, 77] {
                            profiles.set(position, profile, 0).unwrap();
                            profiles.set(nexa_abi::layout::MAX_PEERS + position, profile, 0).unwrap();
                        }
                    }),
                ),
            ];
            assert_eq!(forged.verdict(), ALLOW);
            for (repairs, (name, wanted, mut harm)) in harms.into_iter().enumerate() {
                harm();
                let found = verify(&host);
                let of = found.maps.iter().find(|drift| drift.map == name).unwrap();
                assert_eq!([of.missing, of.extra, of.different], wanted, "{name}: {found}");
                assert_eq!(found.drift(), wanted.iter().sum::<u64>(), "nothing else: {found}");
                assert!(found.repaired > Some(found.generation), "{found}");
                let again = verify(&host);
                assert_eq!((again.drift(), again.repaired), (0, None), "after {name}: {again}");
                assert_eq!(again.intended_hash, again.found_hash);
                let metrics = daemon.metrics();
                assert!(
                    metrics.contains(&format!("nexavpn_policy_repairs_total {}", repairs + 1)),
                    "{metrics}"
                );
                assert!(metrics.contains("nexavpn_policy_drift_entries 0"), "{metrics}");
            }
            // A flip to the bank of another generation.
            let mut state: Array<_, State> = Map::Array(pinned(&host, map::STATE)).try_into().unwrap();
            let live = state.get(&0, 0).unwrap();
            state.set(0, State::new(live.generation() + 1), 0).unwrap();
            let found = verify(&host);
            assert_eq!((found.maps[0].map.as_str(), found.maps[0].different), (map::STATE, 1), "{found}");
            assert_eq!(verify(&host).drift(), 0);
            assert!(daemon.text().contains("somebody changed the kernel's maps"), "{}", daemon.text());
            let explained = explain(&host, "--peer laptop --dst 10.20.0.10 --proto tcp --port 443");
            assert!(explained.agrees() && matches!(explained.kernel, Word::Allow { .. }), "{explained}");
        });
    });
}

#[test]
fn a_drift_shows_in_what_is_explained_and_is_found_without_being_asked() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            // The first look is at the start; so long nobody else looks.
            let (daemon, _, _connection) = in_force(&host, &mut control, &snapshot(), &[]).await;
            let keys: Vec<_> = ports(&host).keys().map(Result::unwrap).collect();
            for key in keys {
                ports(&host).remove(&key).unwrap();
            }
            let mut single_ports: HashMap<_, PortsKey, PortsValue> =
                Map::HashMap(pinned(&host, map::SINGLE_PORTS)).try_into().unwrap();
            let keys: Vec<_> = single_ports.keys().map(Result::unwrap).collect();
            for key in keys {
                single_ports.remove(&key).unwrap();
            }
            let (success, text) = host.ask("explain --peer laptop --dst 10.20.0.10 --proto tcp --port 443");
            assert!(!success && text.contains("allowed by rule 17"), "{text}");
            assert!(text.contains("kernel: refused, because no rule speaks of it"), "{text}");
            daemon.kill();

            let mut daemon = host.start_with("log-again", &["--verify-seconds", "1"]);
            daemon.wait_for_log("the last good snapshot is in force");
            wait_for("a first look", || daemon.metrics().contains("nexavpn_policy_drift_entries 0"));
            let (key, _) = ports(&host).iter().next().unwrap().unwrap();
            ports(&host).remove(&key).unwrap();
            daemon.wait_for_log("somebody changed the kernel's maps");
            wait_for("a look after the repair", || {
                let metrics = daemon.metrics();
                metrics.contains("nexavpn_policy_repairs_total 1")
                    && metrics.contains("nexavpn_policy_drift_entries 0")
            });
        });
    });
}

#[test]
fn a_question_that_cannot_be_answered_is_told_with_what_to_do() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let refusal = |words: &str| {
                let (success, text) = host.ask(words);
                assert!(!success, "{words}: {text}");
                text
            };
            for words in ["status", "verify"] {
                assert!(refusal(words).contains("start it with `nexa-gateway run`"), "{words}");
            }
            let (_daemon, ..) = in_force(&host, &mut control, &snapshot(), &[]).await;
            let of = |rest: &str| refusal(&format!("explain --dst 10.20.0.10 {rest}"));
            assert!(of("--peer lapptop --proto icmp").contains("did you mean laptop?"));
            assert!(of("--peer 100.96.0.77 --proto icmp").contains("no device has the address 100.96.0.77"));
            assert!(of("--peer laptop --proto tcp").contains("say which port of tcp"));
            assert!(of("--peer laptop --proto icmp --port 8").contains("has no ports"));
            assert!(of("--peer laptop --proto tpc --port 8").contains("allowed: tcp, udp, icmp"));
        });
    });
}

#[test]
fn only_root_may_ask() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let (_daemon, ..) = in_force(&host, &mut control, &snapshot(), &[]).await;
            let socket = host.path("state/gateway.sock");
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
            // Even if somebody opens every door to it.
            for path in [host.path(""), host.path("state"), socket.clone()] {
                super::lab::run(&format!("chmod 777 {}", path.display()));
            }
            let nobody = std::thread::spawn(move || {
                // SAFETY: takes three numbers; by itself the call changes this thread only.
                let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
                assert_eq!(result, 0);
                let mut stream = UnixStream::connect(socket).unwrap();
                stream.write_all(b"{\"version\":1,\"ask\":\"status\"}\n").unwrap();
                let mut answer = String::new();
                BufReader::new(stream).read_line(&mut answer).unwrap();
                answer
            });
            assert!(nobody.join().unwrap().contains("only root may ask"));
        });
    });
}
