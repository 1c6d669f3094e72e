//! A WireGuard client that is not ours, through all of the daemon: engine, programs, guard, and back.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nexa_types::{PublicKey, Revision};
use nexa_wire::gateway::FromGateway;
use nexa_wire::snapshot::{Sealed, Snapshot};

use super::daemon::Host;
use super::lab::{Neighbour, in_namespace, run, runtime, wait_for};
use super::tap::Tap;
use crate::fake_control::FakeControl;

/// wireguard-go in a namespace of its own, on the other end of a cable.
pub struct Client {
    pub place: Neighbour,
    interface: String,
    process: Child,
    pub public_key: PublicKey,
}

impl Client {
    pub fn start() -> Self {
        let place = Neighbour::make();
        run(&format!("ip link add wan0 type veth peer name wan0 netns {}", place.task()));
        run("ip address add 192.0.2.10/24 dev wan0");
        run("ip link set wan0 up");
        place.run("ip address add 192.0.2.21/24 dev wan0");
        place.run("ip link set wan0 up");
        // Its control socket's name is shared by all namespaces.
        let interface = format!("c{}-{}", std::process::id(), place.task());
        let mut command = place.command(&format!("wireguard-go -f {interface}"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not by asking `wg`: one that comes between its bind() and its listen() takes the socket for a dead one's and
        // removes it.
        let socket = format!("/var/run/wireguard/{interface}.sock");
        wait_for("wireguard-go", || UnixStream::connect(&socket).is_ok());
        let key = run("wg genkey");
        let mut pubkey = std::process::Command::new("wg");
        let mut pubkey = pubkey.arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        pubkey.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
        let public_key = String::from_utf8(pubkey.wait_with_output().unwrap().stdout).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, key).unwrap();
        place.run(&format!("wg set {interface} private-key {}", file.display()));
        Self { place, interface, process, public_key: public_key.trim().parse().unwrap() }
    }

    pub fn connect_to(&self, gateway: PublicKey) {
        let Self { place, interface, .. } = self;
        place.run(&format!(
            "wg set {interface} peer {gateway} endpoint 192.0.2.10:51900 allowed-ips 100.96.0.1/32,fd6e:7861::1/128"
        ));
        place.run(&format!("ip address add 100.96.0.2/32 dev {interface}"));
        place.run(&format!("ip address add fd6e:7861::2/128 dev {interface} nodad"));
        place.run(&format!("ip link set {interface} mtu 1420 up"));
        place.run(&format!("ip route add 100.96.0.1/32 dev {interface}"));
        place.run(&format!("ip route add fd6e:7861::1/128 dev {interface}"));
    }

    /// Sends what is for a prefix into the tunnel too.
    pub fn route_to(&self, prefix: &str) {
        let Self { place, interface, .. } = self;
        let peer = place.run(&format!("wg show {interface} peers"));
        place.run(&format!(
            "wg set {interface} peer {} allowed-ips 100.96.0.1/32,fd6e:7861::1/128,{prefix}",
            peer.trim()
        ));
        place.run(&format!("ip route add {prefix} dev {interface}"));
    }

    /// Lets it send to anywhere, and take packets from anywhere, whatever its routes say.
    pub fn allow_anywhere(&self) {
        let Self { place, interface, .. } = self;
        let peer = place.run(&format!("wg show {interface} peers"));
        place.run(&format!("wg set {interface} peer {} allowed-ips 0.0.0.0/0,::/0", peer.trim()));
    }

    /// Its own end of the tunnel, below its IP stack.
    pub fn tap(&self) -> Tap {
        self.place.inside(|| Tap::open(&self.interface))
    }

    pub fn pings(&self, address: &str) -> bool {
        self.place.command(&format!("ping -n -c 1 -W 0.2 {address}")).output().unwrap().status.success()
    }

    pub fn wait_for_ping(&self, address: &str) -> Duration {
        let start = Instant::now();
        wait_for(&format!("a ping of {address}"), || self.pings(address));
        start.elapsed()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Killed outright it would leave its control socket behind.
        run(&format!("kill -TERM {}", self.process.id()));
        let _ = self.process.wait();
    }
}

pub fn snapshot(client: PublicKey) -> Snapshot {
    let text = include_str!("../../../crates/nexa-wire/tests/snapshot-v1.json");
    let mut snapshot: Snapshot = serde_json::from_str(text).unwrap();
    snapshot.peers[0].public_key = client;
    snapshot
}

#[test]
fn a_client_reaches_the_gateway_loses_it_and_is_back_soon_after_a_crash() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let client = Client::start();
            let mut daemon = host.start("log");
            let mut connection = control.connection().await;
            let FromGateway::Hello { public_key, .. } = connection.receive().await else { panic!() };
            connection.send(Sealed::new(Revision(1), &snapshot(client.public_key)).unwrap()).await;
            assert_eq!(
                connection.receive().await,
                FromGateway::Ack { revision: Revision(1) },
                "{}",
                daemon.text()
            );
            client.connect_to(public_key);
            client.wait_for_ping("100.96.0.1");
            client.wait_for_ping("fd6e:7861::1");
            let report = connection.receive().await;
            let FromGateway::Peers { peers } = report else { panic!("{report:?}") };
            assert!(peers[0].received_bytes > 0 && peers[0].last_handshake_unix.is_some(), "{peers:?}");
            let metrics = daemon.metrics();
            assert!(metrics.contains("nexavpn_peer_last_handshake_seconds{name=\"laptop\""), "{metrics}");

            host.wait_for_endpoint("192.0.2.21:");
            daemon.kill();
            assert!(!client.pings("100.96.0.1"), "nobody is there");
            control.answer_with(503);
            let start = Instant::now();
            let mut daemon = host.start("log-again");
            daemon.wait_for_log("the tunnel is listening");
            client.wait_for_ping("100.96.0.1");
            let recovery = start.elapsed();
            assert!(
                recovery < Duration::from_secs(8),
                "a client's own timers need 15 s; this took {recovery:?}"
            );

            control.answer_with(0);
            let mut connection = control.connection().await;
            connection.receive().await;
            let mut nobody = snapshot(client.public_key);
            nobody.peers.clear();
            connection.send(Sealed::new(Revision(2), &nobody).unwrap()).await;
            loop {
                match connection.receive().await {
                    FromGateway::Peers { .. } => {}
                    verdict => break assert_eq!(verdict, FromGateway::Ack { revision: Revision(2) }),
                }
            }
            assert!(!client.pings("100.96.0.1"), "a removed device reaches nothing");
        });
    });
}

#[test]
fn a_stored_snapshot_is_served_until_its_lease_ends_and_again_when_the_control_plane_confirms_it() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut control = FakeControl::start().await;
            let host = Host::new(&control.address.to_string());
            let client = Client::start();
            let mut daemon = host.start("log");
            let mut connection = control.connection().await;
            let FromGateway::Hello { public_key, .. } = connection.receive().await else { panic!() };
            let sealed = Sealed::new(Revision(1), &snapshot(client.public_key)).unwrap();
            connection.send(sealed.clone()).await;
            assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(1) });
            client.connect_to(public_key);
            client.wait_for_ping("100.96.0.1");
            daemon.wait_for_log("snapshot in force");
            host.wait_for_endpoint("192.0.2.21:");
            daemon.kill();
            let file = host.path("state/confirmed.json");
            let mut note: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            note["unix"] = (note["unix"].as_u64().unwrap() - 2 * 24 * 3600).into();
            fs::write(&file, note.to_string()).unwrap();
            control.answer_with(503);
            let mut daemon = host.start("log-again");
            daemon.wait_for_log("lease has ended");
            daemon.wait_for_log("the tunnel is listening");
            // The tunnel itself serves: it is the program that denies.
            wait_for("a handshake", || daemon.metrics().contains("nexavpn_peer_last_handshake_seconds{"));
            wait_for("a packet that is counted", || {
                assert!(!client.pings("100.96.0.1"));
                daemon.metrics().contains("reason=\"lease_expired\"")
            });
            control.answer_with(0);
            let mut connection = control.connection().await;
            connection.receive().await;
            connection.send(sealed).await;
            client.wait_for_ping("100.96.0.1");
        });
    });
}
