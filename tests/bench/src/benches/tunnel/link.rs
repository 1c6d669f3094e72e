//! One tunnel: an engine at the client, one at the gateway, and a session between them.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use nexa_lab::{client::wg, ledger::Ledger, namespace::Namespace, wait};

use super::engine::{Engine, Running};

/// How long the first answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A tunnel that carries.
#[derive(Debug)]
pub(super) struct Link {
    /// The gateway's address inside.
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Running,
    _client: Running,
}

impl Link {
    /// Starts the `n`th tunnel between two namespaces, of which the gateway is found at `outer`.
    pub(super) fn start(
        n: u8,
        [client, gateway]: [Engine; 2],
        ends: [&Namespace; 2],
        outer: Ipv4Addr,
        programs: [&Path; 2],
        ledger: &Ledger,
    ) -> Result<Self> {
        let keys = [wg(&["genkey"], "")?, wg(&["genkey"], "")?];
        let [client_key, gateway_key] = [wg(&["pubkey"], &keys[0])?, wg(&["pubkey"], &keys[1])?];
        // Sockets are found by name, whatever the namespace.
        let name = |end: char| format!("nb{:x}{n}{end}", std::process::id());
        let port = 51_000 + u16::from(n);
        let inside = [Ipv4Addr::new(10, 200, n, 2), Ipv4Addr::new(10, 200, n, 1)];
        let running = [
            client.start(ends[0], &name('c'), programs, ledger)?,
            gateway.start(ends[1], &name('g'), programs, ledger)?,
        ];
        let of_client =
            format!("PublicKey = {gateway_key}\nAllowedIPs = 10.200.{n}.0/24\nEndpoint = {outer}:{port}\n");
        let of_gateway = format!("PublicKey = {client_key}\nAllowedIPs = {}/32\n", inside[0]);
        for (end, letter, key, listen, peer) in
            [(0, 'c', &keys[0], port + 500, of_client), (1, 'g', &keys[1], port, of_gateway)]
        {
            let lines = format!("[Interface]\nPrivateKey = {key}\nListenPort = {listen}\n[Peer]\n{peer}");
            let interface = name(letter);
            wg(&["setconf", &interface, "/dev/stdin"], &lines)?;
            ends[end].ip([
                format!("address add {}/24 dev {interface}", inside[end]),
                format!("link set {interface} mtu 1420 up"),
            ])?;
        }
        let [client, gateway] = running;
        wait::until(format!("{} answers through the tunnel", inside[1]), LIMIT, || {
            let mut ping = ends[0].command("ping")?;
            let output = ping.args(["-n", "-q", "-c", "1", "-W", "1", &inside[1].to_string()]).output();
            Ok(output.context("cannot start ping")?.status.success().then_some(()))
        })?;
        Ok(Self { address: inside[1], gateway, _client: client })
    }
}
