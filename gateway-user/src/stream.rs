//! The connection to the control plane: one outbound WebSocket, kept up for as long as the daemon runs.
//!
//! Nothing in here decides about packets: a connection that is down changes nothing, and what arrives is offered to
//! the gateway, which refuses it whole or puts it in force whole.

mod backoff;
mod connect;
mod heard;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexa_types::PublicKey;
use nexa_wire::gateway::PeerReport;
use nexa_wire::snapshot::Sealed;
use tokio::sync::{mpsc, oneshot};

use crate::config::ControlUrl;
use crate::status::Status;
use backoff::Backoff;

/// Where to connect and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The control plane.
    pub url: ControlUrl,
    /// The token's file, read anew for each connection.
    pub token_file: PathBuf,
    /// The gateway's WireGuard key.
    pub public_key: PublicKey,
    /// How the connection is timed.
    pub timing: Timing,
}

/// How the connection is timed.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For connecting, and again for the WebSocket's handshake.
    pub connect_timeout: Duration,
    /// Between two pings.
    pub ping_every: Duration,
    /// Without a byte from the control plane for so long, the connection counts as dead.
    pub silence_limit: Duration,
    /// Between two attempts after the control plane refused the gateway itself.
    pub refused_retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            ping_every: Duration::from_secs(4),
            silence_limit: Duration::from_secs(12),
            refused_retry: Duration::from_secs(30),
        }
    }
}

/// A snapshot that arrived, and where to say what became of it.
#[derive(Debug)]
pub struct Offer {
    /// As it arrived; nothing of it is checked.
    pub sealed: Sealed,
    /// In force, or refused.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// Why a snapshot was refused. The last good one stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words for an operator.
    pub reason: String,
    /// Whether sending it again may help: it was damaged on the way.
    pub resync: bool,
}

/// Why a connection ended or did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// It broke; the control plane may be restarting.
    #[error("{0}")]
    Lost(String),
    /// The control plane does not want this gateway as it is.
    #[error("{0}")]
    Unwanted(String),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Connects, serves the connection and connects again, until the gateway drops the other end of `offers`.
pub async fn run(
    options: Options,
    offers: mpsc::Sender<Offer>,
    mut reports: mpsc::Receiver<Vec<PeerReport>>,
    status: Arc<Status>,
) {
    let mut backoff = Backoff::new();
    let mut trouble: Option<Trouble> = None;
    loop {
        let ended = match connect::connect(&options).await {
            Ok(connection) => {
                let was = trouble.take();
                match was {
                    Some(was) => tracing::info!(
                        attempts = was.attempts,
                        "connected to {} again after {:.1} s",
                        options.url,
                        was.since.elapsed().as_secs_f32()
                    ),
                    None => tracing::info!("connected to {}", options.url),
                }
                status.set_connected(true);
                let mut session = session::Session::new(&options, &offers, &status);
                let ended = session.serve(connection, &mut reports).await;
                status.set_connected(false);
                if session.was_useful() {
                    backoff.reset();
                }
                ended
            }
            Err(ended) => ended,
        };
        if matches!(ended, Ended::Stopping) || offers.is_closed() {
            return;
        }
        log_once(&mut trouble, &ended, &options);
        let pause = match ended {
            Ended::Unwanted(_) => options.timing.refused_retry,
            Ended::Lost(_) | Ended::Stopping => backoff.next_pause(),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = connect::token_changed(&options.token_file), if matches!(ended, Ended::Unwanted(_)) => {}
            () = offers.closed() => return,
        }
    }
}

/// What has been wrong since when.
struct Trouble {
    text: String,
    since: Instant,
    attempts: u32,
}

/// Each problem is told once, when it begins; the same again is for those who debug.
fn log_once(trouble: &mut Option<Trouble>, ended: &Ended, options: &Options) {
    let text = ended.to_string();
    let (known, since, attempts) = match trouble.take() {
        Some(before) => (before.text == text, before.since, before.attempts + 1),
        None => (false, Instant::now(), 1),
    };
    match ended {
        _ if known => tracing::debug!(attempts, "still without {}: {text}", options.url),
        Ended::Unwanted(_) => tracing::error!("{text}"),
        Ended::Lost(_) | Ended::Stopping => tracing::warn!(
            "no connection to {}: {text}. The last good snapshot stays in force; trying again",
            options.url
        ),
    }
    *trouble = Some(Trouble { text, since, attempts });
}
