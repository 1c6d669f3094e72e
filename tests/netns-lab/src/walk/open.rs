//! Step 6: a grant takes effect at once.

use std::{net::SocketAddr, sync::mpsc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{LIMIT, Walk, ms};
use crate::{
    names::{SERVER, port},
    probe,
};

/// A rule that was made through the API, and when.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// When the API was asked.
    pub asked: Instant,
    /// When its answer had arrived.
    pub answered: Instant,
    rule: u64,
}

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let port = port::SECOND_HTTP;
    let resource = walk.make_resource("wiki", &json!([{"protocol": "tcp", "ports": port.to_string()}]))?;
    let mut seen = Vec::new();
    for (family, address) in ["v4", "v6"].into_iter().zip(SERVER.sockets(port)) {
        let (granted, through) = rule_added(walk, &resource, address)?;
        seen.push(match through.checked_duration_since(granted.answered) {
            Some(after) => format!("{family} {} after the API's answer", ms(after)),
            None => format!("{family} {} before the API's answer", ms(granted.answered - through)),
        });
        take_away(walk, granted, address)?;
    }
    Ok(format!("first packet through: {}", seen.join(", ")))
}

/// Adds a rule for a resource while a client tries all the time to connect to an address of it, and returns when the
/// first attempt got through.
///
/// # Errors
/// When the address was open before, is not afterwards, or does not serve the LAN's page.
pub fn rule_added(walk: &Walk<'_>, resource: &str, address: SocketAddr) -> Result<(Granted, Instant)> {
    let client = walk.first();
    ensure!(
        client.run(|| probe::connect(address, super::REFUSED, probe::Hops::Usual).is_err())?,
        "{address} was open before the rule"
    );
    let (trying, is_trying) = mpsc::channel();
    let poller = client.spawn(move || {
        let _ = trying.send(());
        probe::first_connect(address, Instant::now() + LIMIT)
    })?;
    is_trying.recv().context("the client does not try")?;
    let granted = grant(walk, resource)?;
    let through = poller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let body = client.run(|| probe::get(address, "/", LIMIT))??;
    ensure!(body == walk.lab.servers.body(), "another body than the server's: {body:?}");
    Ok((granted, through))
}

/// Adds a rule for a resource, and nothing else.
///
/// # Errors
/// When the API refuses it.
pub fn grant(walk: &Walk<'_>, resource: &str) -> Result<Granted> {
    let rule = walk.grant(resource)?;
    let asked = Instant::now();
    let answer = walk.admin()?.call("POST", "/api/v1/rules", Some(&rule))?.expect(&[201])?;
    let id = answer.body["id"].as_u64().context("the rule has no number")?;
    Ok(Granted { asked, answered: answer.at, rule: id })
}

/// Removes a rule and waits until the address is closed.
///
/// # Errors
/// When it stays open.
pub fn take_away(walk: &Walk<'_>, granted: Granted, address: SocketAddr) -> Result<()> {
    walk.admin()?.delete(&format!("/api/v1/rules/{}", granted.rule))?;
    crate::wait::until("the port stays open without its rule", LIMIT, || {
        let refused = || probe::connect(address, super::REFUSED, probe::Hops::Usual).is_err();
        Ok(walk.first().run(refused)?.then_some(()))
    })?;
    Ok(())
}
