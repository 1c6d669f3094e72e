//! Step 6: a grant takes effect at once.

use std::{sync::mpsc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{LIMIT, Walk, ms};
use crate::{
    names::{SERVER, port},
    probe,
};

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let port = port::SECOND_HTTP;
    let resource = walk.make_resource("wiki", &json!([{"protocol": "tcp", "ports": port.to_string()}]))?;
    let rule = walk.grant(&resource)?;
    let client = walk.first();
    let mut seen = Vec::new();
    for (family, address) in ["v4", "v6"].into_iter().zip(SERVER.sockets(port)) {
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
        let answer = walk.admin()?.call("POST", "/api/v1/rules", Some(&rule))?.expect(&[201])?;
        let through = poller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let body = client.run(|| probe::get(address, "/", LIMIT))??;
        ensure!(body == walk.lab.servers.body(), "another body than the server's: {body:?}");
        seen.push(match through.checked_duration_since(answer.at) {
            Some(after) => format!("{family} {} after the API's answer", ms(after)),
            None => format!("{family} {} before the API's answer", ms(answer.at - through)),
        });
        let id = answer.body["id"].as_u64().context("the rule has no number")?;
        walk.admin()?.delete(&format!("/api/v1/rules/{id}"))?;
        crate::wait::until("the port stays open without its rule", LIMIT, || {
            let closed =
                client.run(|| probe::connect(address, super::REFUSED, probe::Hops::Usual).is_err())?;
            Ok(closed.then_some(()))
        })?;
    }
    Ok(format!("first packet through: {}", seen.join(", ")))
}
