//! Namespaces with our engine in one and Debian's wireguard-go in the others. Everything is named after this
//! process, lives in namespaces of its own and is removed on drop, also when a test fails.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nexa_tunnel::{Engine, PeerConfig, PeerStatus, PrivateKey, Tun};
use nexa_types::PublicKey;

use crate::go::GoPeer;
use crate::ns::Ns;
use crate::router::Router;

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// The gateway's namespace, and what its engine is started with.
///
/// Client `n` is on a veth of its own, 10.77.n.0/24 and fd77:n::/64: the gateway is .1 (::1), the client .2 (::2).
/// Inside the tunnel the gateway is 10.8.0.1 and fd08::1, client `n` is 10.8.0.10+n and fd08::10+n.
pub struct World {
    pub gateway: Ns,
    pub private: PrivateKey,
    id: String,
}

impl World {
    /// A gateway without clients.
    ///
    /// # Panics
    /// When not root: these tests build namespaces, and passing without having tested anything would be a lie.
    pub fn new() -> Self {
        assert!(
            nix::unistd::Uid::effective().is_root(),
            "this test builds network namespaces: run it as root (cargo xtask test tunnel)"
        );
        let id = format!("nt{:x}{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let gateway = Ns::new(&format!("{id}g"));
        Self { gateway, private: PrivateKey::generate(), id }
    }

    /// Starts the engine on wg0 (made, or taken over when it is there) with port 51820, as a gateway does.
    pub fn start(&self) -> Engine {
        self.start_with_mtu(1420)
    }

    pub fn start_with_mtu(&self, mtu: u16) -> Engine {
        let engine = self.gateway.run(|| {
            let tun = Tun::open_persistent("wg0", mtu).unwrap();
            Engine::start(tun, self.private.clone(), 51820).unwrap()
        });
        self.gateway.ip("addr replace 10.8.0.1/24 dev wg0");
        self.gateway.ip("addr replace fd08::1/64 dev wg0 nodad");
        self.gateway.ip("link set wg0 up");
        engine
    }

    /// Adds client `n` with its network and its wireguard-go, which knows the gateway at its IPv4 address.
    pub fn client(&self, n: u8) -> GoPeer {
        self.client_at(n, gateway_of(n))
    }

    /// [`World::client`] that knows the gateway elsewhere.
    pub fn client_at(&self, n: u8, gateway: SocketAddr) -> GoPeer {
        let ns = Ns::new(&format!("{}c{n}", self.id));
        self.join(&ns, n);
        let client = GoPeer::start(ns, n, &format!("{}w{n}", self.id));
        client.join(self.private.public_key(), gateway);
        client
    }

    /// Joins a namespace to the gateway's by the network of client `n`.
    pub fn join(&self, ns: &Ns, n: u8) {
        self.gateway.ip(&format!("link add c{n} type veth peer name eth0 netns {}", ns.name()));
        for (ns, device, host) in [(&self.gateway, format!("c{n}"), 1), (ns, "eth0".to_owned(), 2)] {
            ns.ip(&format!("addr add 10.77.{n}.{host}/24 dev {device}"));
            ns.ip(&format!("addr add fd77:{n}::{host}/64 dev {device} nodad"));
            ns.ip(&format!("link set {device} up"));
        }
    }

    /// [`World::client`] behind a router: the network is the router's, and the client has 192.168.n.2 and fd68:n::2.
    pub fn routed_client(&self, n: u8) -> GoPeer {
        let ns = Ns::new(&format!("{}c{n}", self.id));
        let router = Router::between(&self.gateway, &ns, n, &format!("{}r{n}", self.id));
        let mut client = GoPeer::start(ns, n, &format!("{}w{n}", self.id));
        client.router = Some(router);
        client.join(self.private.public_key(), gateway_of(n));
        client
    }

    /// A namespace behind the gateway, 10.78.0.2 and fd78::2, on a link of that width; the gateway forwards.
    pub fn lan(&self, mtu: u16) -> Ns {
        let ns = Ns::new(&format!("{}l", self.id));
        self.gateway.ip(&format!("link add lan type veth peer name eth0 netns {}", ns.name()));
        for (ns, device, host) in [(&self.gateway, "lan", 1), (&ns, "eth0", 2)] {
            ns.ip(&format!("addr add 10.78.0.{host}/24 dev {device}"));
            ns.ip(&format!("addr add fd78::{host}/64 dev {device} nodad"));
            ns.ip(&format!("link set {device} mtu {mtu} up"));
        }
        ns.ip("route add default via 10.78.0.1");
        ns.ip("route add default via fd78::1");
        forward(&self.gateway);
        ns
    }
}

/// Lets a namespace forward both families.
pub fn forward(ns: &Ns) {
    ns.sysctl("net/ipv4/ip_forward", 1);
    ns.sysctl("net/ipv6/conf/all/forwarding", 1);
}

/// The configuration that lets client `n` in with its two addresses.
pub fn peer(client: &GoPeer) -> PeerConfig {
    PeerConfig {
        public_key: client.public_key,
        allowed_ips: vec![
            format!("10.8.0.{}", 10 + client.n).parse().unwrap(),
            format!("fd08::{}", 10 + client.n).parse().unwrap(),
        ],
        endpoint: None,
        preshared_key: None,
        persistent_keepalive: None,
    }
}

/// [`peer`] with the place where the client is, so that the gateway can speak first.
pub fn known_peer(client: &GoPeer) -> PeerConfig {
    let ip = IpAddr::from([10, 77, client.n, 2]);
    PeerConfig { endpoint: Some(SocketAddr::new(ip, client.listen_port())), ..peer(client) }
}

/// Where client `n` finds the gateway.
pub fn gateway_of(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([10, 77, n, 1]), 51820)
}

/// What the engine knows of one peer.
pub fn status(engine: &Engine, key: PublicKey) -> PeerStatus {
    engine.peers().into_iter().find(|peer| peer.public_key == key).unwrap()
}

/// Waits until `met`, at most `limit`; returns how long it took.
pub fn wait_for(what: &str, limit: Duration, mut met: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}
