use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use ureq::Agent;

/// How long one probe may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `nexactl status`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the control API is, such as `https://vpn.example.org`
    #[arg(long, env = "NEXA_SERVER", value_name = "URL")]
    server: String,
}

/// The part of a problem document (RFC 9457) that is meant for people.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Asks `/healthz`, then `/readyz`, and answers with one line.
///
/// # Errors
/// In words for the admin: no answer, an answer that is not the control API's, or one that says what is wrong.
pub fn run(args: &Args) -> anyhow::Result<String> {
    let server = args.server.trim_end_matches('/');
    if !(server.starts_with("http://") || server.starts_with("https://")) {
        bail!("`{server}` is no address of a server; write it like https://vpn.example.org");
    }
    let agent: Agent =
        Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into();
    let started = Instant::now();
    ask(&agent, server, "/healthz")?;
    let round_trip = started.elapsed();
    ask(&agent, server, "/readyz")?;
    Ok(format!("{server}: ready, answered in {} ms", round_trip.as_millis().max(1)))
}

fn ask(agent: &Agent, server: &str, path: &str) -> anyhow::Result<()> {
    let url = format!("{server}{path}");
    let mut answer = agent.get(&url).call().with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let is_page = answer.body().mime_type() == Some("text/html");
    if status.as_u16() == 404 || is_page {
        bail!("something answers at {server}, but not a NexaVPN control API; check the address");
    }
    if status.is_success() {
        return Ok(());
    }
    match answer.body_mut().read_json::<Problem>() {
        Ok(problem) => bail!("{url} says {status}: {}", problem.detail),
        Err(_) => bail!("{url} says {status}; see the log of nexa-control"),
    }
}
