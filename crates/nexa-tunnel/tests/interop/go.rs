use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nexa_types::PublicKey;

use crate::ns::{Ns, command, text};
use crate::router::Router;
use crate::world::wait_for;

/// A client with Debian's wireguard-go, in a namespace of its own.
pub struct GoPeer {
    pub ns: Ns,
    pub n: u8,
    /// Its WireGuard interface; distinct in the whole system, as the sockets of `wg` are not per namespace.
    pub interface: String,
    pub public_key: PublicKey,
    pub router: Option<Router>,
    child: Child,
}

impl GoPeer {
    pub fn start(ns: Ns, n: u8, interface: &str) -> Self {
        let child = ns
            .command("wireguard-go")
            .args(["-f", interface])
            .env("LOG_LEVEL", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("wireguard-go starts (apt-get install wireguard-go wireguard-tools)");
        let private = command("wg", "genkey");
        let mut client = Self {
            ns,
            n,
            interface: interface.to_owned(),
            public_key: pipe("pubkey", &private).trim().parse().unwrap(),
            router: None,
            child,
        };
        let socket = format!("/var/run/wireguard/{interface}.sock");
        wait_for("wireguard-go's socket", Duration::from_secs(5), || {
            assert!(client.child.try_wait().unwrap().is_none(), "wireguard-go ended at once");
            // `wg` removes a socket on which nobody listens yet.
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        client.set_private_key(private.trim());
        client.ns.ip(&format!("addr add 10.8.0.{}/24 dev {interface}", 10 + n));
        client.ns.ip(&format!("addr add fd08::{}/64 dev {interface} nodad", 10 + n));
        client.ns.ip(&format!("link set {interface} mtu 1420 up"));
        client
    }

    /// `wg …` must succeed.
    pub fn wg(&self, arguments: &str) -> String {
        let done = self.ns.command("wg").args(arguments.split_whitespace()).output().unwrap();
        text(&format!("wg {arguments}"), done)
    }

    /// `wg set` with a secret, which `wg` reads from a file.
    pub fn wg_set_secret(&self, arguments: &str, secret: &str) {
        let mut child = self
            .ns
            .command("wg")
            .args(["set", &self.interface])
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "wg set {arguments}");
    }

    /// The router before it.
    pub fn router(&self) -> &Router {
        self.router.as_ref().unwrap()
    }

    /// Takes another key for its own; returns the public one that it had.
    pub fn renew_key(&mut self) -> PublicKey {
        let private = command("wg", "genkey");
        self.set_private_key(private.trim());
        let public = pipe("pubkey", &private).trim().parse().unwrap();
        std::mem::replace(&mut self.public_key, public)
    }

    fn set_private_key(&self, private: &str) {
        self.wg_set_secret("private-key /dev/stdin", private);
    }

    /// Makes `gateway` at `endpoint` the peer, as one that was never met before.
    pub fn join(&self, gateway: PublicKey, endpoint: SocketAddr) {
        let peer = format!("set {} peer {gateway}", self.interface);
        self.wg(&format!("{peer} remove"));
        self.wg(&format!("{peer} endpoint {endpoint} allowed-ips 10.8.0.0/24,fd08::/64"));
    }

    pub fn listen_port(&self) -> u16 {
        self.wg(&format!("show {} listen-port", self.interface)).trim().parse().unwrap()
    }

    /// (received, sent) bytes as wireguard-go counts them.
    pub fn transfer(&self) -> (u64, u64) {
        let shown = self.wg(&format!("show {} transfer", self.interface));
        let mut fields = shown.split_whitespace().skip(1).map(|field| field.parse().unwrap());
        (fields.next().unwrap(), fields.next().unwrap())
    }
}

impl Drop for GoPeer {
    fn drop(&mut self) {
        // `ip netns exec` has become wireguard-go, so this is its own process.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn pipe(subcommand: &str, input: &str) -> String {
    let mut child =
        Command::new("wg").arg(subcommand).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    text(subcommand, child.wait_with_output().unwrap())
}
