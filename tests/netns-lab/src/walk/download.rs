//! Step 7: taking a grant away cuts what is established.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::{LIMIT, Walk, ms};
use crate::{
    lan::LONG,
    names::{SERVER, port},
    probe, wait,
};

/// The stream must stop this soon after the API's answer.
const STALL: Duration = Duration::from_millis(500);

/// The stream must then stay silent this long, with the connection still open.
const SILENCE: Duration = Duration::from_secs(2);

/// The download must have got this far before its rule goes, bytes: well beyond what buffers hold.
const RUNNING: u64 = 16 << 20;

/// A download that fell silent when its rule was removed through the API.
#[derive(Clone, Copy, Debug)]
pub struct Stalled {
    /// When the API's answer had arrived.
    pub answered: Instant,
    /// When the last byte came: before the answer, where the gateway was faster.
    pub last_byte: Instant,
    /// How fast it was until then.
    pub mbit_per_second: f64,
}

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    let port = port::SECOND_HTTP;
    let resource =
        walk.make_resource("downloads", &json!([{"protocol": "tcp", "ports": port.to_string()}]))?;
    let mut seen = Vec::new();
    for (family, address) in ["v4", "v6"].into_iter().zip(SERVER.sockets(port)) {
        let stalled = rule_removed(walk, &resource, address)?;
        let stall = stalled.last_byte.saturating_duration_since(stalled.answered);
        ensure!(stall <= STALL, "the stream went on for {} after the API's answer", ms(stall));
        let (rate, stall) = (stalled.mbit_per_second, ms(stall));
        seen.push(format!("{family} at {rate:.0} Mbit/s stalled {stall} after the API's answer"));
    }
    Ok(seen.join(", "))
}

/// Grants a resource, downloads from an address of it, removes the grant, and returns when the stream stopped.
///
/// # Errors
/// When the download does not run, its connection ends instead of falling silent, or can be made anew.
pub fn rule_removed(walk: &Walk<'_>, resource: &str, address: SocketAddr) -> Result<Stalled> {
    let rule = walk.admin()?.create("/api/v1/rules", &walk.grant(resource)?)?;
    let rule = rule["id"].as_u64().context("the rule has no number")?;
    let client = walk.first();
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    let start = Instant::now();
    let download = client.spawn(move || until_silent(address, &counted))?;
    wait::until("the download does not run", LIMIT, || {
        ensure!(!download.is_finished(), "the download ended early");
        Ok((received.load(Ordering::Relaxed) > RUNNING).then_some(()))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mbit_per_second = received.load(Ordering::Relaxed) as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e6;
    let answer = walk.admin()?.delete(&format!("/api/v1/rules/{rule}"))?;
    let last_byte = download.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    ensure!(
        client.run(|| probe::connect(address, super::REFUSED, probe::Hops::Usual).is_err())?,
        "{address} can still be connected to"
    );
    Ok(Stalled { answered: answer.at, last_byte, mbit_per_second })
}

/// Downloads until nothing comes for [`SILENCE`], and returns when the last byte came.
fn until_silent(address: SocketAddr, received: &AtomicU64) -> Result<Instant> {
    let deadline = Instant::now() + LIMIT + LIMIT;
    let mut stream = wait::until("the download cannot start", LIMIT, || {
        Ok(probe::connect(address, super::REFUSED, probe::Hops::Usual).ok())
    })?
    .0;
    stream.set_read_timeout(Some(SILENCE)).context("cannot set a limit")?;
    stream
        .write_all(format!("GET {LONG} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").as_bytes())
        .context("cannot ask for the download")?;
    let mut buffer = vec![0_u8; 256 << 10];
    let mut last = Instant::now();
    while Instant::now() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the server ended the download, instead of its packets being dropped"),
            Ok(count) => {
                last = Instant::now();
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
            // The connection is still open, and silent.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(last),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the connection broke, instead of falling silent"),
        }
    }
    bail!("the download never fell silent")
}
