//! Step 9: the gateway's process may die.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{LIMIT, REFUSED, Walk, control_down::Established, ms};
use crate::{
    capture::Capture,
    names::{OTHER_SERVER, SERVER, port},
    probe::{self, Hops},
    ungranted::{self, Attempts},
};

/// How long the gateway stays away.
const AWAY: Duration = Duration::from_secs(2);

/// How long a client may take to get through again. A WireGuard client notices a gateway that lost its sessions after
/// 15 s, and asks again within 5 s; the gateway is to be faster than that by asking itself, but either is a recovery.
const RECOVERY: Duration = Duration::from_secs(30);

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let mut established = Established::open(walk, SERVER.sockets(port::HTTP))?;
    let capture = Capture::start(&walk.lab.network.lan)?;
    let [first, second] = &walk.lab.network.clients;
    let probes = [
        Attempts::start(first, SERVER.sockets(port::NEVER), Hops::Usual)?,
        Attempts::start(first, OTHER_SERVER.sockets(port::HTTP), Hops::Usual)?,
        Attempts::start(second, SERVER.sockets(port::HTTP), Hops::Marked)?,
    ];
    walk.lab.gateway.kill()?;
    let killed = Instant::now();
    while killed.elapsed() < AWAY {
        let reached = |address| probe::connect(address, REFUSED, Hops::Usual).is_ok();
        walk.first().run(|| SERVER.sockets(port::HTTP).map(reached))?;
    }
    let recovered = recovered(walk, SERVER.sockets(port::HTTP)[0])?;
    for address in SERVER.sockets(port::HTTP) {
        let body = walk.first().run(|| probe::get(address, "/", LIMIT))?.context("after the restart")?;
        ensure!(body == walk.lab.servers.body(), "another body than the server's: {body:?}");
    }
    established.get(walk.lab.servers.body()).context("an established connection, after the restart")?;
    walk.wait_for_gateway().context("after the restart")?;

    let mut tried = 0;
    for probes in probes {
        tried += probes.finish()?;
    }
    let packets = capture.finish()?;
    ensure!(
        packets.iter().any(|packet| packet.destination == SERVER.v4 && packet.port == Some(port::HTTP)),
        "the capture on the LAN does not even see what is granted"
    );
    ungranted::none_in(&packets, &[port::HTTP])?;
    Ok(format!(
        "{tried} ungranted attempts, 0 of {} packets on the LAN; the client got through {} after the start, \
         its connections went on",
        packets.len(),
        ms(recovered)
    ))
}

/// Starts the gateway again, and returns how long after its start the client got through to an address.
///
/// # Errors
/// When the client does not get through, or the gateway ended.
pub fn recovered(walk: &mut Walk<'_>, address: SocketAddr) -> Result<Duration> {
    walk.lab.gateway.start(&walk.lab.network.gateway, &walk.lab.ledger)?;
    let started = Instant::now();
    let through = walk.first().run(|| probe::first_connect(address, Instant::now() + RECOVERY))?;
    let through = through.context("the client did not recover")?;
    walk.lab.gateway.check()?;
    Ok(through.saturating_duration_since(started))
}
