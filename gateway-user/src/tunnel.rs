//! The WireGuard engine on the tunnel's interface, its desired peers, and where they were last.

mod endpoints;
mod plan;

use std::path::Path;

use anyhow::Context as _;
use nexa_types::Cidr;
use nexa_wire::snapshot::{Network, Peer};

use crate::config::InterfaceName;
use crate::gateway::lock;
use crate::xdp_guard;
use endpoints::Endpoints;
use nexa_tunnel::{Engine, PeerConfig, PeerStatus, PrivateKey, Tun};
pub use plan::without_moved_addresses;

/// MTU of the interface until a snapshot says another.
const FIRST_MTU: u16 = 1420;

/// The tunnel. Its interface is persistent: addresses, routes and programs on it outlive the process.
pub struct Tunnel {
    interface: InterfaceName,
    key: PrivateKey,
    /// Open, but nobody reads it yet.
    idle: Option<Tun>,
    running: Option<Running>,
    endpoints: Endpoints,
    xdp_guard: xdp_guard::Shared,
}

struct Running {
    engine: Engine,
    port: u16,
    mtu: u16,
}

impl Tunnel {
    /// Opens the interface, making it if need be; a new one is down. Reads the peers' last endpoints.
    ///
    /// # Errors
    /// When the interface cannot be opened: it may be another process's.
    pub fn open(
        interface: &InterfaceName,
        key: &PrivateKey,
        state_dir: &Path,
        xdp_guard: xdp_guard::Shared,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            interface: interface.clone(),
            key: key.clone(),
            idle: Some(open_tun(interface, FIRST_MTU)?),
            running: None,
            endpoints: Endpoints::load(state_dir),
            xdp_guard,
        })
    }

    /// Makes `peers` the only ones, starting the engine if need be and disturbing no peer that stays as it is.
    ///
    /// # Errors
    /// When the port cannot be had or the engine refuses the set; the peers are then as they were.
    pub fn set_peers(&mut self, network: &Network, peers: &[Peer]) -> anyhow::Result<()> {
        let fits = |running: &Running| running.port == network.listen_port && running.mtu == network.mtu;
        if self.running.as_ref().is_some_and(|running| !fits(running)) {
            // The one change that disturbs everybody: all clients must learn the new port or MTU anyway.
            self.stop();
        }
        let starting = self.running.is_none();
        let running = match self.running.take() {
            Some(running) => running,
            None => self.start(network)?,
        };
        let engine = &self.running.insert(running).engine;
        announce(engine, peers, &self.xdp_guard)?;
        if starting {
            // Later the engine knows better than the file.
            let places = self.endpoints.of(peers.iter().map(|peer| peer.public_key));
            engine.restore_endpoints(places).context("the tunnel refused its peers' last endpoints")?;
        }
        Ok(())
    }

    /// Narrows the running tunnel to `peers`; starts nothing.
    ///
    /// # Errors
    /// When the engine refuses the set.
    pub fn narrow(&self, peers: &[Peer]) -> anyhow::Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        announce(&running.engine, peers, &self.xdp_guard)
    }

    /// What the engine knows of its peers; nothing while it is not running.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.running.as_ref().map(|running| running.engine.peers()).unwrap_or_default()
    }

    /// The UDP port that it listens on; none while it is not running.
    pub fn port(&self) -> Option<u16> {
        self.running.as_ref().map(|running| running.port)
    }

    /// Why the engine ended by itself, if it did.
    pub fn failure(&self) -> Option<String> {
        self.running.as_ref().and_then(|running| running.engine.failure().map(str::to_owned))
    }

    /// Puts the peers' endpoints on disk if they changed.
    pub fn save_endpoints(&mut self, statuses: &[PeerStatus]) {
        // A tunnel that failed knows no peers, which says nothing about where they are.
        if self.running.is_some() && self.failure().is_none() {
            self.endpoints.update(statuses);
        }
    }

    /// Ends the engine. The interface stays as it is.
    pub fn stop(&mut self) {
        let statuses = self.peers();
        self.save_endpoints(&statuses);
        if self.running.take().is_some() {
            lock(&self.xdp_guard).suspend();
        }
    }

    fn start(&mut self, network: &Network) -> anyhow::Result<Running> {
        let Network { listen_port: port, mtu, .. } = *network;
        // The device can be open only once: one with another MTU is closed before it is opened anew.
        let idle = self.idle.take().filter(|_| mtu == FIRST_MTU);
        let tun = match idle {
            Some(tun) => tun,
            None => open_tun(&self.interface, mtu)?,
        };
        // Ahead of the socket: what it gets, the guard has seen.
        lock(&self.xdp_guard).begin(port);
        let engine = Engine::start(tun, self.key.clone(), port).inspect_err(|_| {
            // The port is somebody else's.
            lock(&self.xdp_guard).suspend();
        });
        let engine = engine.with_context(|| format!("cannot start the tunnel on UDP port {port}"))?;
        tracing::info!(port, "the tunnel is listening");
        Ok(Running { engine, port, mtu })
    }
}

fn open_tun(interface: &InterfaceName, mtu: u16) -> anyhow::Result<Tun> {
    Tun::open_persistent(interface.as_str(), mtu).with_context(|| {
        format!("cannot open {interface}; if it belongs to another program, end that one or choose another --interface")
    })
}

fn announce(engine: &Engine, peers: &[Peer], xdp_guard: &xdp_guard::Shared) -> anyhow::Result<()> {
    let peers = peers.iter().map(config).collect();
    engine.set_peers_announced(peers, &mut *lock(xdp_guard)).context("the tunnel refused its peers")?;
    Ok(())
}

fn config(peer: &Peer) -> PeerConfig {
    PeerConfig {
        public_key: peer.public_key,
        allowed_ips: peer.addresses().map(Cidr::host).to_vec(),
        endpoint: None,
        preshared_key: None,
        persistent_keepalive: None,
    }
}
