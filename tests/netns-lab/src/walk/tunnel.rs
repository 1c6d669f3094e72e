//! Step 4: the tunnel comes up and carries what is granted.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::{LIMIT, Walk, ms};
use crate::{
    names::{LAN_NETWORKS, SERVER, port},
    probe, wait,
};

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.lab.clients[0].profile().context("step 3 did not get that far")?;
    let mut seen = Vec::new();
    for (client, namespace) in walk.lab.clients.iter_mut().zip(&walk.lab.network.clients) {
        client.connect(namespace, &walk.lab.ledger)?;
    }
    let namespace = &walk.lab.network.clients[0];
    let start = Instant::now();
    for address in SERVER.sockets(port::HTTP) {
        let start = Instant::now();
        let body = namespace.run(|| probe::get(address, "/", LIMIT))??;
        ensure!(body == walk.lab.servers.body(), "another body than the server's: {body:?}");
        let family = if address.is_ipv4() { "v4, with the handshake," } else { "v6" };
        seen.push(format!("{family} {}", ms(start.elapsed())));
    }
    wait::until("`wg` shows no handshake", LIMIT, || walk.lab.clients[0].last_handshake(namespace))?;
    let all = ms(start.elapsed());
    widen(walk)?;
    walk.facts.connected = true;
    Ok(format!("{}, in all {all}", seen.join(", ")))
}

/// From here on both clients send everything into the tunnel that is on the LAN or in the tunnel's pools: what they
/// reach is up to the gateway. The second client has its handshake now, which later steps do not wait for.
pub(crate) fn widen(walk: &Walk<'_>) -> Result<()> {
    let lab = &walk.lab;
    let others: Vec<_> =
        lab.clients.iter().map(|client| client.profile().map(|p| p.address)).collect::<Result<_>>()?;
    for (index, (client, namespace)) in lab.clients.iter().zip(&lab.network.clients).enumerate() {
        let other = others[1 - index];
        let mut networks: Vec<String> = LAN_NETWORKS.map(str::to_owned).into();
        networks.extend([format!("{}/32", other.v4), format!("{}/128", other.v6)]);
        client.widen(namespace, &networks)?;
    }
    let (second, namespace) = (&lab.clients[1], &lab.network.clients[1]);
    // Anything that goes into the tunnel starts the handshake.
    namespace
        .run(|| probe::connect(SERVER.sockets(port::HTTP)[0], super::REFUSED, probe::Hops::Marked).is_ok())?;
    wait::until("the second client gets no handshake", LIMIT, || second.last_handshake(namespace))?;
    Ok(())
}
