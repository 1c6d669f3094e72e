//! Step 11: one device reaches another by a rule that names it, and not before or afterwards.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{LIMIT, REFUSED, Walk};
use crate::{background::Background, namespace::Namespace, probe, wait};

/// What the second client answers with, and where.
const PORT: u16 = 8022;
const ANSWER: &[u8] = b"from one device to another";

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let device = walk.lab.clients[1].device.clone().context("no device: see step 3")?;
    let addresses = walk.lab.clients[1].profile()?.address.sockets(PORT);
    let traffic = json!([{"protocol": "tcp", "ports": PORT.to_string()}]);
    let devices = json!([{"kind": "device", "id": device}]);
    let resource = walk.admin()?.create(
        "/api/v1/resources",
        &json!({"name": "another device", "devices": devices, "traffic": traffic}),
    )?;
    let resource = crate::api::text(&resource, "id")?.to_owned();
    let servers = [
        serve(&walk.lab.network.clients[1], addresses[0])?,
        serve(&walk.lab.network.clients[1], addresses[1])?,
    ];
    let reached =
        |walk: &Walk<'_>, address| walk.first().run(|| probe::connect(address, REFUSED, probe::Hops::Usual));
    for address in addresses {
        ensure!(reached(walk, address)?.is_err(), "{address} is open before the rule");
    }
    let rule = walk.admin()?.create("/api/v1/rules", &walk.grant(&resource)?)?;
    let mut established = Vec::new();
    for address in addresses {
        let (mut stream, _) =
            wait::until(format!("{address} stays closed"), LIMIT, || Ok(reached(walk, address)?.ok()))?;
        stream.set_read_timeout(Some(LIMIT)).context("cannot set a limit")?;
        exchange(&mut stream).with_context(|| format!("with {address}"))?;
        established.push(stream);
    }
    // The other way there is no rule: the second client cannot begin.
    for address in walk.lab.clients[0].profile()?.address.sockets(PORT) {
        let begun =
            walk.lab.network.clients[1].run(|| probe::connect(address, REFUSED, probe::Hops::Usual))?;
        ensure!(begun.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut), "{address} answered");
    }
    walk.admin()?.delete(&format!("/api/v1/rules/{}", rule["id"]))?;
    for (mut stream, address) in established.into_iter().zip(addresses) {
        wait::until(format!("{address} stays open without its rule"), LIMIT, || {
            Ok(reached(walk, address)?.is_err().then_some(()))
        })?;
        stream.set_read_timeout(Some(Duration::from_millis(500))).context("cannot set a limit")?;
        ensure!(exchange(&mut stream).is_err(), "a connection with {address} outlived its rule");
    }
    for server in servers {
        server.finish()?;
    }
    Ok("refused before, over v4 and v6 with it, cut and refused after; never the other way".to_owned())
}

/// Answers each byte on each connection, inside a client's namespace.
fn serve(namespace: &Namespace, address: SocketAddr) -> Result<Background<()>> {
    let listener =
        namespace.run(|| TcpListener::bind(address))?.context("the second client cannot listen")?;
    listener.set_nonblocking(true).context("cannot listen without blocking")?;
    Background::start(namespace, move |stop| {
        let mut open = Vec::new();
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).context("cannot serve without blocking")?;
                open.push(stream);
            }
            for stream in &mut open {
                if stream.read(&mut [0]).is_ok_and(|count| count == 1) {
                    stream.write_all(ANSWER).context("cannot answer")?;
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })
}

fn exchange(stream: &mut std::net::TcpStream) -> Result<()> {
    stream.write_all(b"?").context("cannot ask")?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(answer == ANSWER, "another answer");
    Ok(())
}
