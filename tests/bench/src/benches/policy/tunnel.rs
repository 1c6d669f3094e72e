//! A tunnel with the shipped programs on its interface, beside one with programs that pass everything.
//!
//! ```text
//!   clients ── veth ── gateway: engine, wg0, programs ── veth ── lan
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use chrono::{TimeDelta, Utc};
use nexa_gateway::dataplane::{Dataplane, Options};
use nexa_gateway_core::lower;
use nexa_lab::{namespace::Namespace, wait};
use nexa_tunnel::{Engine, PeerConfig, PrivateKey, Tun};
use nexa_types::{Cidr, PortRange, Protocol, PublicKey, ResourceId, RuleId};
use nexa_wire::snapshot::{Effect, Resource, Rule, Snapshot, Subject, Target, Traffic};
use uuid::Uuid;

use super::{bed::Bed, inject::Counter, world};
use crate::interleave::{self, Better, Case, Metric, Plain, Rounds, Series};
use crowd::Crowd;

mod crowd;

/// Rules of the policy, besides private ones, and the one that lets this traffic pass.
const RULES: u32 = 2_000;
/// Devices that the crowd speaks for.
const CROWD: usize = 1_000;
/// Where clients find the gateway, and they themselves.
const WAN: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 1, 1), Ipv4Addr::new(198, 18, 1, 2)];
/// The gateway on the LAN, and the server.
const LAN: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 30, 0, 1), Ipv4Addr::new(172, 30, 0, 10)];
/// The tunnel's port.
const PORT: u16 = 51_900;
/// The port of iperf3.
const IPERF3_PORT: u16 = 5_201;
/// Seconds of one run of iperf3.
const SECONDS: &str = "2";
/// How long something that must come may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What stands on wg0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Programs {
    /// The shipped ones.
    Ours,
    /// Ones that pass everything.
    Pass,
}

/// What holds programs on wg0; they go with it.
enum Attached {
    Ours(Box<Dataplane>),
    Pass([Counter; 2]),
}

/// Namespaces, tunnel and clients.
struct Scene {
    snapshot: Snapshot,
    gateway: Namespace,
    clients: Namespace,
    lan: Namespace,
    // Ends when it goes.
    _engine: Engine,
    _client: Engine,
    crowd: Crowd,
}

const CASES: [Case<Plain<Scene>>; 4] = [
    Case {
        metric: metric(
            "tunnel_tcp_ours_gbit_per_s",
            "Gbit/s",
            "iperf3 from a client, the shipped programs on wg0",
        ),
        run: |scene, _| scene.tcp_gbit_per_s(Programs::Ours),
    },
    Case {
        metric: metric(
            "tunnel_tcp_pass_gbit_per_s",
            "Gbit/s",
            "the same, with programs that pass everything",
        ),
        run: |scene, _| scene.tcp_gbit_per_s(Programs::Pass),
    },
    Case {
        metric: metric(
            "tunnel_udp_ours_per_s",
            "1/s",
            "200-byte datagrams of 1,000 peers and 100k flows that came through",
        ),
        run: |scene, _| scene.udp_per_second(Programs::Ours),
    },
    Case {
        metric: metric("tunnel_udp_pass_per_s", "1/s", "the same, with programs that pass everything"),
        run: |scene, _| scene.udp_per_second(Programs::Pass),
    },
];

const fn metric(name: &'static str, unit: &'static str, what: &'static str) -> Metric {
    Metric { name, unit, better: Better::Higher, what }
}

/// Names of all that is measured here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.metric.name)
}

/// Measures.
pub(super) fn measure(bed: &Bed<'_>, rounds: Rounds, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    interleave::run(&mut Scene::new(bed)?, &CASES, rounds, say)
}

impl Scene {
    fn new(bed: &Bed<'_>) -> Result<Self> {
        let snapshot = policy()?;
        let [gateway, clients, lan] = [bed.namespace("gw")?, bed.namespace("cl")?, bed.namespace("la")?];
        gateway.ip([
            format!("link add wan type veth peer name wan netns {}", clients.name()),
            format!("link add lan type veth peer name lan netns {}", lan.name()),
            format!("address add {}/30 dev wan", WAN[0]),
            format!("address add {}/24 dev lan", LAN[0]),
            "link set wan up".to_owned(),
            "link set lan up".to_owned(),
        ])?;
        clients.ip([format!("address add {}/30 dev wan", WAN[1]), "link set wan up".to_owned()])?;
        lan.ip([
            format!("address add {}/24 dev lan", LAN[1]),
            "link set lan up".to_owned(),
            format!("route add {} via {}", snapshot.network.pool_v4, LAN[0]),
        ])?;
        gateway.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?.context("cannot forward")?;

        let private = PrivateKey::generate();
        let server = gateway.run(|| -> Result<_> {
            Ok(Engine::start(Tun::open_persistent("wg0", snapshot.network.mtu)?, private, PORT)?)
        })??;
        gateway
            .ip(["link set wg0 up".to_owned(), format!("route add {} dev wg0", snapshot.network.pool_v4)])?;
        let own = PrivateKey::generate();
        let (first, crowd) = snapshot.peers.split_first().context("no peers")?;
        let crowd: Vec<_> = crowd.iter().take(CROWD).map(|peer| (PrivateKey::generate(), peer.v4)).collect();
        let of_crowd = crowd.iter().map(|(key, address)| peer(key.public_key(), *address));
        server.set_peers([peer(own.public_key(), first.v4)].into_iter().chain(of_crowd).collect())?;

        let endpoint = SocketAddr::from((WAN[0], PORT));
        let client = clients.run(|| -> Result<_> {
            Ok(Engine::start(Tun::open_persistent("wgc", snapshot.network.mtu)?, own, 0)?)
        })??;
        let everything = vec![Cidr::host(LAN[1].into())];
        client.set_peers(vec![PeerConfig {
            endpoint: Some(endpoint),
            allowed_ips: everything,
            ..peer(server.public_key(), LAN[1])
        }])?;
        clients.ip([
            format!("address add {}/32 dev wgc", first.v4),
            "link set wgc up".to_owned(),
            format!("route add {} dev wgc src {}", LAN[1], first.v4),
        ])?;
        let crowd = clients.run(|| Crowd::join(crowd, server.public_key(), endpoint))??;
        Ok(Self { snapshot, gateway, clients, lan, _engine: server, _client: client, crowd })
    }

    fn attach(&self, programs: Programs) -> Result<Attached> {
        Ok(match programs {
            Programs::Ours => {
                let mut dataplane = Dataplane::open(&Options::default())?;
                let now = Utc::now();
                dataplane.apply(&lower(&self.snapshot, &[], now)?, now + TimeDelta::days(1))?;
                self.gateway.run(|| dataplane.attach("wg0"))??;
                Attached::Ours(Box::new(dataplane))
            }
            Programs::Pass => self.gateway.run(|| -> Result<_> {
                Ok(Attached::Pass([
                    Counter::pass("wg0", TcAttachType::Ingress)?,
                    Counter::pass("wg0", TcAttachType::Egress)?,
                ]))
            })??,
        })
    }

    fn tcp_gbit_per_s(&self, programs: Programs) -> Result<f64> {
        let attached = self.attach(programs)?;
        let mut server = self.lan.command("iperf3")?.args(["-s", "-1"]).stdout(Stdio::null()).spawn()?;
        let outcome = self.iperf3();
        if outcome.is_err() {
            drop(server.kill());
        }
        end(&mut server)?;
        ensure!(attached.packets()? > 0, "the programs have seen nothing");
        outcome
    }

    fn iperf3(&self) -> Result<f64> {
        let listening = || -> Result<Option<()>> {
            let filter = format!("sport = {IPERF3_PORT}");
            let listed =
                self.lan.command("ss")?.args(["-Hltn", &filter]).output().context("cannot start ss")?;
            Ok((!listed.stdout.is_empty()).then_some(()))
        };
        wait::until("iperf3 listens", LIMIT, listening)?;
        let output = self
            .clients
            .command("iperf3")?
            .args(["-c", &LAN[1].to_string(), "-t", SECONDS, "-J"])
            .output()
            .context("cannot start iperf3")?;
        let said: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("iperf3 wrote no JSON")?;
        let bits = said["end"]["sum_received"]["bits_per_second"].as_f64();
        bits.map(|bits| bits / 1e9).with_context(|| format!("iperf3: {}", said["error"]))
    }

    fn udp_per_second(&mut self, programs: Programs) -> Result<f64> {
        let attached = self.attach(programs)?;
        let arrived = self.lan.run(|| Counter::end("lan", TcAttachType::Ingress))??;
        let Self { crowd, clients, .. } = self;
        let rate = clients.run(|| crowd.send(IpAddr::V4(LAN[1]), &|| arrived.packets()))??;
        ensure!(attached.packets()? > 0, "the programs have seen nothing");
        Ok(rate)
    }
}

impl Attached {
    /// Packets that the programs let into the gateway.
    fn packets(&self) -> Result<u64> {
        match self {
            Self::Ours(dataplane) => {
                Ok(dataplane.counters()?.rules.iter().map(|(_, counted)| counted.allowed_packets).sum())
            }
            Self::Pass([ingress, _]) => ingress.packets(),
        }
    }
}

fn end(server: &mut Child) -> Result<()> {
    server.wait().context("cannot wait for iperf3")?;
    Ok(())
}

/// The policy of the other regimes, and a rule that lets everybody reach the server.
fn policy() -> Result<Snapshot> {
    let mut snapshot = world::snapshot(super::bed::PEERS, world::GROUPS, RULES, Effect::Allow)?;
    let id = ResourceId(Uuid::from_u128(u128::MAX));
    let any = |protocol| Traffic::new(protocol, Some(PortRange::ANY));
    snapshot.resources.push(Resource {
        id,
        name: "server".to_owned(),
        cidrs: vec!["172.30.0.0/24".parse()?],
        devices: vec![],
        traffic: vec![any(Protocol::Tcp)?, any(Protocol::Udp)?],
    });
    let number = snapshot.rules.iter().map(|rule| rule.id.0).max().unwrap_or(0) + 1;
    snapshot.rules.push(Rule {
        id: RuleId(number),
        effect: Effect::Allow,
        who: vec![Subject::Everyone],
        what: vec![Target::Resource(id)],
        ..snapshot.rules.first().context("no rules")?.clone()
    });
    Ok(snapshot)
}

fn peer(public_key: PublicKey, address: Ipv4Addr) -> PeerConfig {
    PeerConfig {
        public_key,
        allowed_ips: vec![Cidr::host(address.into())],
        endpoint: None,
        preshared_key: None,
        persistent_keepalive: None,
    }
}
