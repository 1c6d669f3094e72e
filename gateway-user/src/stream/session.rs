//! One connection, from the hello to its end.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use nexa_types::Revision;
use nexa_wire::gateway::{FromGateway, PROTOCOL, ToGateway};
use nexa_wire::snapshot::Sealed;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use super::connect::Connection;
use super::{Ended, Offer, Options, Refusal};
use crate::status::Status;
use crate::store;

/// The server's close code for a protocol version that it does not speak.
const UNKNOWN_PROTOCOL: u16 = 4400;

pub struct Session<'a> {
    options: &'a Options,
    offers: &'a mpsc::Sender<Offer>,
    status: &'a Arc<Status>,
    /// The newest snapshot that this connection carried.
    newest: Option<Revision>,
    /// Arrived while another was being put in force. Only the newest counts.
    waiting: Option<Sealed>,
    /// Being put in force.
    offered: Option<Pending>,
    /// Whether what was last offered is in force, so that hearing from the control plane confirms it.
    current: bool,
    useful: bool,
    /// Whether the log has a word on outdated snapshots of this connection.
    said_outdated: bool,
}

struct Pending {
    revision: Revision,
    reply: oneshot::Receiver<Result<(), Refusal>>,
}

impl<'a> Session<'a> {
    pub fn new(options: &'a Options, offers: &'a mpsc::Sender<Offer>, status: &'a Arc<Status>) -> Self {
        Self {
            options,
            offers,
            status,
            newest: None,
            waiting: None,
            offered: None,
            current: false,
            useful: false,
            said_outdated: false,
        }
    }

    /// Whether a snapshot of this connection came into force, or was already.
    pub const fn was_useful(&self) -> bool {
        self.useful
    }

    /// Serves the connection until it ends.
    pub async fn serve(
        &mut self,
        mut connection: Connection,
        reports: &mut mpsc::Receiver<Vec<FromGateway>>,
    ) -> Ended {
        match self.exchange(&mut connection, reports).await {
            Ok(()) => {
                // The server may be gone; the daemon does not wait for it.
                let _ = timeout(self.options.timing.connect_timeout, connection.socket.close(None)).await;
                Ended::Stopping
            }
            Err(ended) => ended,
        }
    }

    async fn exchange(
        &mut self,
        connection: &mut Connection,
        reports: &mut mpsc::Receiver<Vec<FromGateway>>,
    ) -> Result<(), Ended> {
        let (applied, applied_hash) =
            self.status.applied().map(|applied| (applied.revision, applied.hash)).unzip();
        let hello = FromGateway::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            public_key: self.options.public_key,
            applied,
            applied_hash,
        };
        self.send(connection, &hello).await?;
        let mut ping = interval(self.options.timing.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = connection.socket.next() => match message {
                    Some(Ok(message)) => self.receive(connection, message).await?,
                    Some(Err(error)) => return Err(lost(&error)),
                    None => return Err(Ended::Lost("it closed the connection".to_owned())),
                },
                outcome = outcome(&mut self.offered) => self.answer(connection, outcome?).await?,
                Some(frames) = reports.recv() => {
                    for frame in &frames {
                        self.send(connection, frame).await?;
                    }
                }
                _ = ping.tick() => {
                    if connection.heard.ago() > self.options.timing.silence_limit {
                        return Err(Ended::Lost("it fell silent".to_owned()));
                    }
                    self.write(connection, Message::Ping(tungstenite::Bytes::new())).await?;
                }
                () = self.offers.closed() => return Ok(()),
            }
        }
    }

    async fn receive(&mut self, connection: &mut Connection, message: Message) -> Result<(), Ended> {
        match message {
            Message::Text(text) => match serde_json::from_str::<ToGateway>(&text) {
                Ok(ToGateway { snapshot: Some(sealed) }) => self.consider(connection, sealed).await,
                Ok(ToGateway { snapshot: None }) => Ok(()),
                Err(error) => Err(Ended::Lost(format!("it sent a frame that cannot be read ({error})"))),
            },
            Message::Close(Some(CloseFrame { code, reason })) if u16::from(code) == UNKNOWN_PROTOCOL => {
                Err(Ended::Unwanted(format!(
                    "{} does not speak protocol version {PROTOCOL} ({reason}); bring gateway and control plane to \
                     versions that go together. The last good snapshot stays in force",
                    self.options.url
                )))
            }
            Message::Pong(_) => {
                if self.current {
                    self.status.set_confirmed_unix(store::now_unix());
                }
                Ok(())
            }
            Message::Binary(_) | Message::Ping(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// Revisions only rise. An older one is a replay, or comes from a server with old data; a server whose data went
    /// back on purpose has learnt from the hello where to number on.
    async fn consider(&mut self, connection: &mut Connection, sealed: Sealed) -> Result<(), Ended> {
        let revision = sealed.revision;
        if self.newest.is_some_and(|newest| revision < newest) {
            self.status.count_outdated();
            tracing::warn!(%revision, "passing over a snapshot that is older than one of the same connection");
            return Ok(());
        }
        self.newest = Some(revision);
        if let Some(applied) = self.status.applied() {
            if applied.revision == revision && applied.hash == sealed.hash && self.offered.is_none() {
                self.current = true;
                self.useful = true;
                self.status.set_confirmed_unix(store::now_unix());
                return self.send(connection, &FromGateway::Ack { revision }).await;
            }
            if revision <= applied.revision {
                self.status.count_outdated();
                if !self.said_outdated {
                    self.said_outdated = true;
                    tracing::warn!(
                        offered = %revision,
                        applied = %applied.revision,
                        "passing over a snapshot that is not newer than the one in force: it was replayed, or a \
                         server with old data sent it"
                    );
                }
                return Ok(());
            }
        }
        self.current = false;
        if self.offered.is_some() {
            self.waiting = Some(sealed);
            return Ok(());
        }
        self.offer(sealed).await
    }

    async fn offer(&mut self, sealed: Sealed) -> Result<(), Ended> {
        let (reply, receiver) = oneshot::channel();
        self.offered = Some(Pending { revision: sealed.revision, reply: receiver });
        self.offers.send(Offer { sealed, reply }).await.map_err(|_| Ended::Stopping)
    }

    async fn answer(
        &mut self,
        connection: &mut Connection,
        (revision, outcome): (Revision, Result<(), Refusal>),
    ) -> Result<(), Ended> {
        self.offered = None;
        match outcome {
            Ok(()) => {
                self.useful = true;
                self.current = self.waiting.is_none();
                self.status.set_confirmed_unix(store::now_unix());
                self.send(connection, &FromGateway::Ack { revision }).await?;
            }
            Err(refusal) => {
                self.send(connection, &FromGateway::Refused { revision, reason: refusal.reason.clone() })
                    .await?;
                if refusal.resync && self.waiting.is_none() {
                    return Err(Ended::Lost(format!("snapshot {revision} was refused: {}", refusal.reason)));
                }
            }
        }
        match self.waiting.take() {
            Some(next) => self.offer(next).await,
            None => Ok(()),
        }
    }

    async fn send(&self, connection: &mut Connection, message: &FromGateway) -> Result<(), Ended> {
        let text = serde_json::to_string(message).map_err(|error| Ended::Lost(error.to_string()))?;
        self.write(connection, Message::text(text)).await
    }

    /// A server that no longer reads must not hold the gateway's own work back.
    async fn write(&self, connection: &mut Connection, message: Message) -> Result<(), Ended> {
        match timeout(self.options.timing.silence_limit, connection.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(Ended::Lost("it no longer reads".to_owned())),
        }
    }
}

/// What became of the pending offer; waits forever while there is none.
async fn outcome(offered: &mut Option<Pending>) -> Result<(Revision, Result<(), Refusal>), Ended> {
    let Some(pending) = offered else { return std::future::pending().await };
    let outcome = (&mut pending.reply).await.map_err(|_| Ended::Stopping)?;
    Ok((pending.revision, outcome))
}

fn lost(error: &tungstenite::Error) -> Ended {
    Ended::Lost(error.to_string())
}
