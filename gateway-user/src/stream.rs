//! The connection to the control plane: one outbound WebSocket, kept up for as long as the daemon runs.
//!
//! Nothing in here decides about packets: a connection that is down changes nothing, and what arrives is offered to
//! the gateway, which refuses it whole or puts it in force whole.

mod backoff;
mod connect;
mod heard;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexa_config::SecretSource;
use nexa_types::PublicKey;
use nexa_wire::gateway::FromGateway;
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
    /// The gateway's token; a file is read anew for each connection.
    pub token: SecretSource,
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
    /// What was wrong, for who counts.
    pub cause: Cause,
}

/// What was wrong with a snapshot that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is not what was sealed.
    Hash,
    /// Its text cannot be read.
    Unreadable,
    /// It is of a later version's form.
    Format,
    /// It contradicts itself, or asks for what this gateway cannot do.
    Policy,
    /// The kernel's maps have no room for it.
    Overflow,
    /// Something on this host failed.
    Host,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Hash, Self::Unreadable, Self::Format, Self::Policy, Self::Overflow, Self::Host];

    /// As metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Unreadable => "unreadable",
            Self::Format => "format",
            Self::Policy => "policy",
            Self::Overflow => "overflow",
            Self::Host => "host",
        }
    }
}

/// Why a connection ended or did not come up.
#[derive(Clone, Debug, thiserror::Error)]
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
    mut reports: mpsc::Receiver<Vec<FromGateway>>,
    status: Arc<Status>,
) {
    let mut backoff = Backoff::new();
    let mut trouble: Option<Trouble> = None;
    loop {
        let token = connect::read_token(&options.token).await;
        let connected = match &token {
            Ok(token) => connect::connect(&options, token).await,
            Err(ended) => Err(ended.clone()),
        };
        let ended = match connected {
            Ok(connection) => {
                log_connected(trouble.as_mut(), &options);
                status.set_connected(true);
                let mut session = session::Session::new(&options, &offers, &status);
                let ended = session.serve(connection, &mut reports).await;
                status.set_connected(false);
                if session.was_useful() {
                    backoff.reset();
                    trouble = None;
                }
                ended
            }
            Err(ended) => ended,
        };
        if matches!(ended, Ended::Stopping) || offers.is_closed() {
            return;
        }
        log_once(trouble.get_or_insert_with(Trouble::begin), &ended, &options);
        let pause = match ended {
            Ended::Unwanted(_) => options.timing.refused_retry,
            Ended::Lost(_) | Ended::Stopping => backoff.next_pause(),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = connect::token_changed(&options.token, token.as_ref().ok()), if matches!(ended, Ended::Unwanted(_)) => {}
            () = offers.closed() => return,
        }
    }
}

/// Most different problems that are told while it lasts.
const MOST_TOLD: usize = 16;

/// What has been wrong since a connection was last of use.
struct Trouble {
    since: Instant,
    attempts: u32,
    told: Vec<String>,
    end_told: bool,
}

impl Trouble {
    fn begin() -> Self {
        Self { since: Instant::now(), attempts: 0, told: Vec::new(), end_told: false }
    }
}

/// A server that takes connections and drops them again is told of once, as any other trouble.
fn log_connected(trouble: Option<&mut Trouble>, options: &Options) {
    let Some(trouble) = trouble else { return tracing::info!("connected to {}", options.url) };
    let (after, attempts) = (trouble.since.elapsed().as_secs_f32(), trouble.attempts);
    if trouble.end_told {
        tracing::debug!(attempts, "connected to {} again after {after:.1} s", options.url);
    } else {
        tracing::info!(attempts, "connected to {} again after {after:.1} s", options.url);
    }
    trouble.end_told = true;
}

/// Each problem is told once, when it begins; the same again is for those who debug.
fn log_once(trouble: &mut Trouble, ended: &Ended, options: &Options) {
    trouble.attempts += 1;
    let text = ended.to_string();
    if trouble.told.contains(&text) || trouble.told.len() == MOST_TOLD {
        return tracing::debug!(attempts = trouble.attempts, "still without {}: {text}", options.url);
    }
    match ended {
        Ended::Unwanted(_) => tracing::error!("{text}"),
        Ended::Lost(_) | Ended::Stopping => tracing::warn!(
            "no connection to {}: {text}. The last good snapshot stays in force; trying again",
            options.url
        ),
    }
    trouble.told.push(text);
}
