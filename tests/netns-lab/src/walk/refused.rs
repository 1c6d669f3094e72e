//! Step 5: what is not granted is not reached, the counters say why, and the gateway and the control plane say which rule
//! came closest.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};

use serde_json::Value;

use super::{REFUSED, Walk, ms};
use crate::{
    api::text,
    capture::Capture,
    metrics::Metrics,
    names::{OTHER_SERVER, SERVER, port},
    namespace::Namespace,
    probe, ungranted, wait,
};

/// What is granted to nobody who tries.
const NO_RULE: &str = "no_rule";

/// Who tries to reach what.
struct Attempt {
    what: &'static str,
    client: usize,
    addresses: [SocketAddr; 2],
    reason: &'static str,
}

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let lab = &walk.lab;
    let second = lab.clients[1].profile()?.address;
    let attempts = [
        Attempt { what: "another port", client: 0, addresses: SERVER.sockets(port::NEVER), reason: NO_RULE },
        Attempt {
            what: "another host",
            client: 0,
            addresses: OTHER_SERVER.sockets(port::HTTP),
            reason: NO_RULE,
        },
        Attempt {
            what: "without a grant",
            client: 1,
            addresses: SERVER.sockets(port::HTTP),
            reason: NO_RULE,
        },
        Attempt {
            what: "the other client",
            client: 0,
            addresses: second.sockets(port::HTTP),
            reason: "excluded",
        },
    ];
    // A listener that would answer, so that silence is the gateway's doing.
    let _listening = listen(&lab.network.clients[1], second.sockets(port::HTTP))?;

    let capture = Capture::start(&lab.network.lan)?;
    let mut seen = Vec::new();
    for attempt in attempts {
        seen.push(refused(walk, &attempt).with_context(|| attempt.what)?);
    }
    // The capture is worth nothing unless it sees what does pass.
    lab.network.clients[0].run(|| probe::get(SERVER.sockets(port::HTTP)[0], "/", super::LIMIT))??;
    let packets = capture.finish()?;
    ensure!(
        packets.iter().any(|packet| packet.destination == SERVER.v4 && packet.port == Some(port::HTTP)),
        "the capture on the LAN does not even see what is granted"
    );
    ungranted::none_in(&packets, &[port::HTTP])?;
    Ok(format!("{}; {}", seen.join(", "), told(walk)?))
}

/// Finds the attempt at another port told, by the gateway and by the control plane, with the rule that came closest.
fn told(walk: &Walk<'_>) -> Result<String> {
    let used = format!(", you used {}", port::NEVER);
    let (line, by_gateway) = wait::until("the gateway does not tell of the refusal", super::LIMIT, || {
        let drops = walk.lab.gateway.drops()?;
        let is_meant = |line: &&str| line.contains("no rule speaks of it; rule ") && line.contains(&used);
        Ok(drops.lines().find(is_meant).map(str::to_owned))
    })?;
    let device = walk.lab.clients[0].device.as_deref().context("no device")?;
    let path = format!("/api/v1/drops?reason=no_rule&device={device}");
    let admin = walk.admin()?;
    let (nearest, by_control) =
        wait::until("control-api does not tell of the refusal", super::LIMIT, || {
            let drops = admin.read(&path)?;
            let events = drops["items"].as_array().context("no list of drops")?;
            let is_meant = |event: &&Value| event["destination_port"] == port::NEVER;
            let event = events.iter().find(is_meant);
            event.map(|event| Ok(text(event, "nearest")?.to_owned())).transpose()
        })?;
    ensure!(nearest.ends_with(&used), "control-api says `{nearest}`");
    ensure!(line.contains(&nearest), "control-api says `{nearest}`, the gateway `{line}`");
    Ok(format!(
        "`{nearest}` by the gateway after {} and by the API after {}",
        ms(by_gateway),
        ms(by_gateway + by_control)
    ))
}

fn listen(namespace: &Namespace, addresses: [SocketAddr; 2]) -> Result<Vec<std::net::TcpListener>> {
    namespace
        .run(|| addresses.into_iter().map(std::net::TcpListener::bind).collect::<std::io::Result<Vec<_>>>())?
        .context("cannot listen")
}

/// Tries over both families, and finds the drops counted by reason, both for the peer and in all.
fn refused(walk: &Walk<'_>, attempt: &Attempt) -> Result<String> {
    let lab = &walk.lab;
    let metrics = || lab.gateway.metrics(&lab.network.gateway);
    let device = lab.clients[attempt.client].device.as_deref().context("no device")?;
    let hops = if lab.clients[attempt.client].granted { probe::Hops::Usual } else { probe::Hops::Marked };
    let before = metrics()?;
    for address in attempt.addresses {
        match lab.network.clients[attempt.client].run(|| probe::connect(address, REFUSED, hops))? {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            Err(error) => bail!("{address} was to be silent, but: {error}"),
            Ok(_) => bail!("{address} was reached"),
        }
    }
    let after = metrics()?;
    let tries = attempt.addresses.len() as u64;
    let peer = &[("peer", device)][..];
    let reasons = deltas(&before, &after, "nexavpn_peer_drops_total", peer);
    let reason = attempt.reason;
    let is_counted = |(name, count): &(String, u64)| name == reason && *count >= tries;
    ensure!(
        reasons.iter().any(is_counted),
        "{tries} packets were dropped as {reason}, but the peer's counters moved by {reasons:?}"
    );
    let all = deltas(&before, &after, "nexavpn_drops_total", &[]);
    ensure!(all.iter().any(is_counted), "the peer's counter says {reason}, the gateway's moved by {all:?}");
    Ok(format!("{}: {reason}", attempt.what))
}

/// By how much the counters of a name moved, by reason.
pub(super) fn deltas(
    before: &Metrics,
    after: &Metrics,
    name: &str,
    labels: &[(&str, &str)],
) -> Vec<(String, u64)> {
    after
        .by_label(name, labels, "reason")
        .into_iter()
        .map(|(reason, count)| {
            let with_reason: Vec<_> = labels.iter().copied().chain([("reason", reason.as_str())]).collect();
            let moved = count.saturating_sub(before.count(name, &with_reason));
            (reason, moved)
        })
        .filter(|(_, moved)| *moved > 0)
        .collect()
}
