//! A flood at the tunnel's port, with the XDP guard on: what it takes from who has a session, and how long who has none
//! waits for one.
//!
//! ```text
//!   client ── veth ── guard, gateway
//!        ↑ live frames, as if the client's end had sent them
//! ```
//!
//! Both engines are of this program: the guard must be told which receivers there are.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::xdp::XdpMode;
use nexa_gateway::xdp_guard::{Mode, Options, Program};
use nexa_lab::{ledger::Ledger, names::Prefix, namespace::Namespace, wait};
use nexa_tunnel::{Engine, PeerConfig, PrivateKey, Receivers, Tun};
use nexa_types::{Cidr, PublicKey};

use super::load::{self, Way};
use crate::benches::policy::inject::Injector;

mod frames;
mod honest;

/// The gateway outside, and the client.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 3, 1), Ipv4Addr::new(198, 18, 3, 2)];
/// The same inside.
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 201, 0, 1), Ipv4Addr::new(10, 201, 0, 2)];
const PORT: u16 = 51_900;
const MTU: u16 = 1420;
/// Who shakes hands during a flood.
const HONEST: usize = 100;
/// Frames of the flood in a second, and in one go: to begin and to end one takes the kernel tens of milliseconds.
const PER_SECOND: f64 = 200_000.0;
const IN_ONE_GO: u32 = 40_000;
/// How long something that must come may take.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Flood {
    // Both end before their namespaces go.
    server: Engine,
    _client: Engine,
    guard: Program,
    injector: Injector,
    honest: Vec<PrivateKey>,
    ends: [Namespace; 2],
}

/// Whether there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Calm,
    Flooded,
}

/// Tells the guard.
struct Told<'a>(&'a mut Program);

impl Receivers for Told<'_> {
    fn admit(&mut self, prefixes: &[u32]) {
        // What it does not know it refuses, and then nothing is measured.
        drop(self.0.set_receivers(prefixes, true));
    }

    fn retire(&mut self, prefixes: &[u32]) {
        drop(self.0.set_receivers(prefixes, false));
    }
}

impl Flood {
    /// Makes two namespaces, and a session through the guard.
    pub(super) fn new(prefix: &Prefix, ledger: &Ledger) -> Result<Self> {
        let namespace = |name: &str| {
            let name = prefix.name(name);
            ledger.namespace(&name)?;
            Namespace::new(&name)
        };
        let (client, gateway) = (namespace("fc")?, namespace("fg")?);
        gateway.ip([
            format!("link add wan address 02:00:00:00:00:01 type veth peer name wan netns {}", client.name()),
            format!("address add {}/30 dev wan", OUTER[0]),
            "link set wan up".to_owned(),
        ])?;
        client.ip([format!("address add {}/30 dev wan", OUTER[1]), "link set wan up".to_owned()])?;
        // Cookies for senders that there are not go somewhere.
        gateway.ip([format!("route add default via {}", OUTER[1])])?;

        let mut guard = Program::load(&Options::default())?;
        guard.set_local(&[], &[OUTER[0].into()])?;
        guard.configure(PORT, Mode::Native, true)?;
        gateway.run(|| guard.xdp_mut()?.attach("wan", XdpMode::Driver).context("no native XDP"))??;

        let start = |namespace: &Namespace, inner: Ipv4Addr, port: u16| -> Result<Engine> {
            let engine = namespace
                .run(|| anyhow::Ok(Engine::start(Tun::open("nbf", MTU)?, PrivateKey::generate(), port)?))??;
            namespace.ip([format!("address add {inner}/24 dev nbf"), "link set nbf up".to_owned()])?;
            Ok(engine)
        };
        let server = start(&gateway, INNER[0], PORT)?;
        let session = start(&client, INNER[1], 0)?;
        let honest: Vec<_> = (0..HONEST).map(|_| PrivateKey::generate()).collect();
        let addresses = (10_u8..).map(|host| Ipv4Addr::new(10, 201, 0, host));
        let strangers = honest.iter().map(PrivateKey::public_key).zip(addresses);
        let peers = std::iter::once((session.public_key(), INNER[1])).chain(strangers);
        server.set_peers_announced(
            peers.map(|(key, address)| peer(key, address, None)).collect(),
            &mut Told(&mut guard),
        )?;
        let endpoint = SocketAddr::from((OUTER[0], PORT));
        session.set_peers(vec![peer(server.public_key(), INNER[0], Some(endpoint))])?;
        wait::until("an answer through the guard", LIMIT, || {
            let mut ping = client.command("ping")?;
            let output = ping.args(["-n", "-q", "-c", "1", "-W", "1", &INNER[0].to_string()]).output();
            Ok(output.context("cannot start ping")?.status.success().then_some(()))
        })?;
        let injector = frames::injector(server.public_key(), OUTER[0], PORT)?;
        Ok(Self { server, _client: session, guard, injector, honest, ends: [client, gateway] })
    }

    /// One TCP stream to the gateway of who has a session.
    pub(super) fn gbit_per_s(&self, weather: Weather) -> Result<f64> {
        let [client, gateway] = &self.ends;
        self.during(weather, || Ok(load::tcp([client, gateway], INNER[0], Way::Up)?.gbit_per_s))
    }

    /// What 99 of 100 wait for a session at most, in milliseconds.
    pub(super) fn handshake_p99_ms(&self) -> Result<f64> {
        let endpoint = SocketAddr::from((OUTER[0], PORT));
        let mut waits = self.during(Weather::Flooded, || {
            self.ends[0].run(|| honest::shake_hands(&self.honest, self.server.public_key(), endpoint))?
        })?;
        waits.sort();
        let slow = waits.get((waits.len() - 1) * 99 / 100).context("nobody shook hands")?;
        Ok(slow.as_secs_f64() * 1e3)
    }

    fn during<T>(&self, weather: Weather, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if weather == Weather::Calm {
            return work();
        }
        let (over, before) = (AtomicBool::new(false), self.dropped()?);
        thread::scope(|scope| {
            let flood = scope.spawn(|| self.ends[0].run(|| flood(&self.injector, &over))?);
            let outcome = work();
            over.store(true, Ordering::Relaxed);
            let (sent, rate) = flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            ensure!(rate > 0.95 * PER_SECOND, "the flood was {rate:.0} frames a second only");
            // Two thirds are junk by form; of the rest the guard has a budget for some.
            let dropped = self.dropped()? - before;
            ensure!(dropped > sent / 2, "of {sent} frames the guard has dropped {dropped}");
            outcome
        })
    }

    fn dropped(&self) -> Result<u64> {
        Ok(self.guard.counted()?.dropped.iter().map(|(_, count)| count).sum())
    }
}

/// Sends frames out of the client's end until it is `over`; returns how many, and how many a second.
fn flood(injector: &Injector, over: &AtomicBool) -> Result<(u64, f64)> {
    let interface = nix::net::if_::if_nametoindex("wan").context("no interface")?;
    let (start, mut sent) = (Instant::now(), 0_u32);
    while !over.load(Ordering::Relaxed) {
        injector.run(interface, IN_ONE_GO)?;
        sent += IN_ONE_GO;
        let due = Duration::from_secs_f64(f64::from(sent) / PER_SECOND);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok((sent.into(), f64::from(sent) / start.elapsed().as_secs_f64()))
}

fn peer(public_key: PublicKey, address: Ipv4Addr, endpoint: Option<SocketAddr>) -> PeerConfig {
    PeerConfig {
        public_key,
        allowed_ips: vec![Cidr::host(address.into())],
        endpoint,
        preshared_key: None,
        persistent_keepalive: None,
    }
}
