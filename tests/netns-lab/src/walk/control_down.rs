//! Step 8: the control plane may be away.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{LIMIT, REFUSED, Walk, ms};
use crate::{
    names::{SERVER, port},
    probe, wait,
};

/// How long the control plane is away at least.
const AWAY: Duration = Duration::from_secs(3);

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let resource = walk.make_resource(
        "after-restart",
        &json!([{"protocol": "tcp", "ports": port::SECOND_HTTP.to_string()}]),
    )?;
    let mut established = Established::open(walk, SERVER.sockets(port::HTTP))?;

    walk.lab.control.stop()?;
    let stopped = Instant::now();
    let mut fetched = 0;
    while stopped.elapsed() < AWAY {
        walk.lab.gateway.check()?;
        established
            .get(walk.lab.servers.body())
            .context("an established connection, without the control plane")?;
        for address in SERVER.sockets(port::HTTP) {
            let body = walk.first().run(|| probe::get(address, "/", LIMIT))?;
            let body = body.context("a new connection, without the control plane")?;
            ensure!(body == walk.lab.servers.body(), "another body than the server's: {body:?}");
            fetched += 1;
        }
        let closed = |address| probe::connect(address, REFUSED, probe::Hops::Usual).is_err();
        ensure!(walk.first().run(|| closed(SERVER.sockets(port::NEVER)[0]))?, "an ungranted port is open");
    }

    walk.lab.control.start(&walk.lab.network.control, &walk.lab.ledger)?;
    let synced = walk.wait_for_gateway().context("after control-api started again")?;
    established.get(walk.lab.servers.body()).context("an established connection, after the re-sync")?;
    let rule = walk.admin()?.call("POST", "/api/v1/rules", Some(&walk.grant(&resource)?))?.expect(&[201])?;
    let open = walk
        .first()
        .run(|| probe::first_connect(SERVER.sockets(port::SECOND_HTTP)[0], Instant::now() + LIMIT))?;
    let open = open.context("a rule made after the re-sync")?;
    let id = rule.body["id"].as_u64().context("the rule has no number")?;
    walk.admin()?.delete(&format!("/api/v1/rules/{id}"))?;
    wait::until("the port stays open without its rule", LIMIT, || {
        let address = SERVER.sockets(port::SECOND_HTTP)[0];
        let closed = walk.first().run(|| probe::connect(address, REFUSED, probe::Hops::Usual).is_err())?;
        Ok(closed.then_some(()))
    })?;
    Ok(format!(
        "{fetched} new connections in {:.1} s without it, established ones went on; re-synced {} after it served, \
         a new rule open after {}",
        AWAY.as_secs_f64(),
        ms(synced),
        ms(open.saturating_duration_since(rule.at)),
    ))
}

/// Connections that stay open, one per family.
pub(crate) struct Established(Vec<BufReader<TcpStream>>);

impl Established {
    pub(crate) fn open(walk: &Walk<'_>, addresses: [SocketAddr; 2]) -> Result<Self> {
        let connect = |address| probe::connect(address, LIMIT, probe::Hops::Usual);
        let streams =
            walk.first().run(|| addresses.into_iter().map(connect).collect::<Result<Vec<_>, _>>())?;
        let streams = streams.context("cannot connect")?;
        for stream in &streams {
            stream.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
        }
        let mut established = Self(streams.into_iter().map(BufReader::new).collect());
        established.get(walk.lab.servers.body())?;
        Ok(established)
    }

    /// Asks for the page on each connection.
    pub(crate) fn get(&mut self, expected: &str) -> Result<()> {
        for stream in &mut self.0 {
            stream
                .get_mut()
                .write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
                .context("cannot ask on an established connection")?;
            loop {
                let mut line = String::new();
                let count = stream.read_line(&mut line).context("no answer on an established connection")?;
                ensure!(count > 0, "an established connection was ended");
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; expected.len()];
            stream.read_exact(&mut body).context("half an answer on an established connection")?;
            ensure!(body == expected.as_bytes(), "another body than the server's");
        }
        Ok(())
    }
}
