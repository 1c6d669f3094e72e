//! Figures, not verdicts: with `--full`, or alone with `--ignored --show-output`. A bench will replace this.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use nexa_tunnel::{Engine, PeerConfig, PrivateKey, Tun};

use crate::cpu::engine_cpu_seconds;
use crate::net::ping_until_answered;
use crate::ns::{Ns, text};
use crate::world::{World, gateway_of, peer, wait_for};

const SOON: Duration = Duration::from_secs(5);

#[test]
#[ignore = "prints figures and takes half a minute"]
fn iperf3_through_the_engine() {
    let world = World::new();
    let client = world.client(1);
    let engine = world.start();
    let joined = PrivateKey::generate();
    let ours = PeerConfig {
        public_key: joined.public_key(),
        allowed_ips: vec!["10.8.0.200".parse().unwrap()],
        ..peer(&client)
    };
    engine.set_peers(vec![peer(&client), ours]).unwrap();
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    iperf3("wireguard-go", &world.gateway, &client.ns);

    let _other_end = start_client(&client.ns, joined, gateway_of(1), &engine);
    ping_until_answered(&client.ns, "10.8.0.1", SOON);
    iperf3("our engine", &world.gateway, &client.ns);
}

/// Our engine as the client, on a device whose route to the gateway is the more specific one.
fn start_client(ns: &Ns, private: PrivateKey, gateway: SocketAddr, server: &Engine) -> Engine {
    let engine = ns.run(|| Engine::start(Tun::open_persistent("wg9", 1420).unwrap(), private, 0).unwrap());
    let peer = PeerConfig {
        public_key: server.public_key(),
        allowed_ips: vec!["10.8.0.0/24".parse().unwrap()],
        endpoint: Some(gateway),
        preshared_key: None,
        persistent_keepalive: None,
    };
    engine.set_peers(vec![peer]).unwrap();
    ns.ip("addr add 10.8.0.200/32 dev wg9");
    ns.ip("link set wg9 up");
    ns.ip("route add 10.8.0.1/32 dev wg9 src 10.8.0.200");
    engine
}

fn iperf3(who: &str, gateway: &Ns, client: &Ns) {
    for (direction, flag) in [("client to gateway", "-P1"), ("gateway to client", "-R")] {
        let mut server = gateway.command("iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap();
        wait_for("iperf3", SOON, || listens(gateway));
        let before = engine_cpu_seconds();
        let done = client.command("iperf3").args(["-c", "10.8.0.1", "-t", "5", flag]).output().unwrap();
        let used = engine_cpu_seconds() - before;
        let shown = text("iperf3", done);
        let line = shown.lines().rfind(|line| line.contains("receiver")).unwrap();
        println!("{who} as the client, {direction}: {line} ({used:.2} CPU-s in engines)");
        server.wait().unwrap();
    }
}

fn listens(ns: &Ns) -> bool {
    ns.command("ss").args(["-Hltn", "sport = 5201"]).output().is_ok_and(|done| !done.stdout.is_empty())
}
