use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexa_types::{GatewayId, PublicKey, Revision};
use nexa_wire::gateway::{FromGateway, PROTOCOL};
use nexa_wire::snapshot::Sealed;
use tokio::sync::{OwnedSemaphorePermit, watch};
use uuid::Uuid;

use super::{App, Error, Result, report, token};
use crate::model::{Actor, ActorKind};
use crate::store::{AuditEntry, gateway, network};

/// How often a stream shows that it lives, and asks whether it should.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// The largest revision that is numbered on from: no gateway can use up all numbers.
const MAX_REVISION: i64 = 1 << 53;

/// When to read a snapshot again that could not be read.
const RETRY: Duration = Duration::from_millis(500);

/// Why a stream is closed, as WebSocket close code and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The gateway speaks another version of the protocol, or none.
    Protocol,
    /// The gateway's token is valid no more.
    Revoked,
    /// The gateway's WireGuard key belongs to a device or to another gateway.
    KeyTaken,
    /// The gateway has connected anew.
    Replaced,
    /// This server stops, or cannot go on; another one may serve.
    GoingAway,
}

impl Close {
    /// The close code; 4000 and above are ours.
    pub const fn code(self) -> u16 {
        match self {
            Self::Protocol => 4400,
            Self::Revoked => 4401,
            Self::KeyTaken => 4409,
            Self::Replaced => 4410,
            Self::GoingAway => 1001,
        }
    }

    /// The reason, for an operator.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Protocol => "another version of the gateway protocol is spoken here; update the older side",
            Self::Revoked => "this token is valid no more; give the gateway a new one",
            Self::KeyTaken => "this WireGuard key is taken; remove the gateway's key file to make a new one",
            Self::Replaced => "this gateway has connected anew",
            Self::GoingAway => "this server stops; connect again",
        }
    }
}

/// A gateway whose token was right. Only [`App::gateway`] makes one.
pub struct GatewayIdentity {
    app: App,
    id: GatewayId,
    token_hash: [u8; 32],
    address: Option<IpAddr>,
}

/// A snapshot that a gateway has in force.
struct InForce {
    revision: Revision,
    hash: Option<String>,
}

impl InForce {
    /// Whether a snapshot of ours is newer, or the same.
    fn leads_to(&self, ours: &Sealed) -> bool {
        let same = self.hash.as_ref().is_none_or(|hash| *hash == ours.hash);
        self.revision < ours.revision || (self.revision == ours.revision && same)
    }
}

/// The server's side of a gateway's stream, after the hello.
pub struct GatewayStream {
    identity: GatewayIdentity,
    connection: Uuid,
    changes: watch::Receiver<Revision>,
    sent: Option<Revision>,
    /// What the gateway had in force when it connected, until it is known that our data are the continuation.
    has: Option<InForce>,
    /// Whether the last snapshot could not be read.
    stale: bool,
    /// One of the server's streams, until this one has ended.
    _place: OwnedSemaphorePermit,
}

impl App {
    /// Finds out which gateway holds a token, in a request from this address.
    ///
    /// # Errors
    /// `gateway_token_invalid`, logged once per token.
    pub async fn gateway(&self, gateway_token: &str, address: Option<IpAddr>) -> Result<GatewayIdentity> {
        let token_hash = token::hash(gateway_token);
        let found = gateway::by_token(&mut *self.store().connection().await?, &token_hash).await?;
        if let Some(id) = found {
            return Ok(GatewayIdentity { app: self.clone(), id, token_hash, address });
        }
        if self.0.refused.is_new(token_hash) {
            tracing::warn!(
                "a gateway with an invalid token was refused; give it a token by POST /api/v1/gateways"
            );
        }
        Err(Error::Unauthenticated {
            code: "gateway_token_invalid",
            detail: "no gateway has this token; make one by POST /api/v1/gateways/{id}/token",
        })
    }
}

impl GatewayIdentity {
    /// Takes the first frame of a stream.
    ///
    /// # Errors
    /// [`Close`], where the stream must end.
    pub async fn hello(self, frame: FromGateway) -> std::result::Result<GatewayStream, Close> {
        let FromGateway::Hello { protocol: PROTOCOL, version, public_key, applied, applied_hash } = frame
        else {
            tracing::warn!(gateway = %self.id, "a gateway began without a hello of protocol {PROTOCOL}");
            return Err(Close::Protocol);
        };
        let version: String = version.chars().filter(|character| !character.is_control()).take(64).collect();
        let connection = Uuid::now_v7();
        let place = Arc::clone(&self.app.0.streams).try_acquire_owned().map_err(|_| Close::GoingAway)?;
        // Before the first snapshot is read, so that no change falls between.
        let mut changes = self.app.0.revisions.clone();
        changes.mark_unchanged();
        let connected = async {
            self.take_key(public_key).await?;
            let mut db = self.app.store().connection().await?;
            Ok(gateway::connect(&mut db, self.id, connection, &version, applied).await?)
        };
        match connected.await {
            Ok(()) => {}
            Err(Error::Conflict { .. }) => return Err(Close::KeyTaken),
            Err(Error::NotFound(_)) => return Err(Close::Revoked),
            Err(error) => {
                tracing::warn!(gateway = %self.id, %error, "a gateway's hello could not be noted");
                return Err(Close::GoingAway);
            }
        }
        tracing::info!(gateway = %self.id, version, "gateway connected");
        let has = applied.map(|revision| InForce { revision, hash: applied_hash });
        Ok(GatewayStream {
            identity: self,
            connection,
            changes,
            sent: None,
            has,
            stale: false,
            _place: place,
        })
    }

    /// The snapshot to send to a gateway that `has` one in force, which takes none that is older. Data that are behind
    /// it were restored from a backup, or are another control plane's: they number on from there.
    async fn snapshot_beyond(&self, has: Option<&InForce>) -> Result<Option<Sealed>> {
        let sealed = self.app.snapshot(self.id, &self.token_hash).await?;
        let (Some(has), Some(ours)) = (has, &sealed) else { return Ok(sealed) };
        if has.leads_to(ours) {
            return Ok(sealed);
        }
        let known = i64::try_from(has.revision.0).ok().filter(|known| *known <= MAX_REVISION);
        let known =
            known.ok_or_else(|| Error::Internal(format!("a gateway has revision {}", has.revision)))?;
        tracing::warn!(
            gateway = %self.id,
            theirs = %has.revision,
            ours = %ours.revision,
            "the database is not the continuation of what a gateway has in force: it was restored from a backup, or \
             the gateway served another control plane. Numbering on from there"
        );
        let mut change = self.app.store().change_beyond(known).await?;
        let gateway = gateway::get(change.connection(), self.id).await?.ok_or(Error::NotFound("gateway"))?;
        let actor = self.actor(gateway.name);
        let after = network::revision(change.connection()).await?;
        let entry = AuditEntry::new(&actor, "network.number_on", "network");
        change.commit(entry.before(&ours.revision).after(&after)).await?;
        self.app.snapshot(self.id, &self.token_hash).await
    }

    fn actor(&self, name: String) -> Actor {
        Actor { kind: ActorKind::Gateway, id: Some(self.id.0), name, address: self.address, token: None }
    }

    /// Notes the gateway's WireGuard key where it is new: clients' profiles show it.
    async fn take_key(&self, key: PublicKey) -> Result<()> {
        let store = self.app.store();
        let known = gateway::get(&mut *store.connection().await?, self.id).await?;
        if known.ok_or(Error::NotFound("gateway"))?.public_key == Some(key) {
            return Ok(());
        }
        let taken = || Error::conflict("public_key_taken", Close::KeyTaken.reason());
        let mut change = store.visible_change().await?;
        let db = change.connection();
        let before = gateway::get(db, self.id).await?.ok_or(Error::NotFound("gateway"))?;
        if gateway::key_is_a_devices(db, key).await? {
            return Err(taken());
        }
        gateway::set_key(db, self.id, key).await.map_err(|error| match error.constraint() {
            Some("gateways_public_key") => taken(),
            _ => error.into(),
        })?;
        let after = gateway::get(db, self.id).await?.ok_or(Error::NotFound("gateway"))?;
        let actor = self.actor(before.name.clone());
        change
            .commit(AuditEntry::new(&actor, "gateway.set_key", self.id).before(&before).after(&after))
            .await?;
        Ok(())
    }
}

impl GatewayStream {
    /// Waits until there may be something new to send.
    ///
    /// # Errors
    /// [`Close::GoingAway`] when this server stops.
    pub async fn changed(&mut self) -> std::result::Result<(), Close> {
        let changed = self.changes.changed();
        let changed = if self.stale {
            tokio::time::timeout(RETRY, changed).await.unwrap_or(Ok(()))
        } else {
            changed.await
        };
        changed.map_err(|_| Close::GoingAway)
    }

    /// The snapshot to send now; `None` where the last one still is in force, or none can be read now.
    ///
    /// # Errors
    /// [`Close::Revoked`] where the gateway is gone or has another token.
    pub async fn next_snapshot(&mut self) -> std::result::Result<Option<Sealed>, Close> {
        let identity = &self.identity;
        let read = identity.snapshot_beyond(self.has.as_ref()).await;
        if read.is_ok() {
            self.has = None;
        }
        let was_stale = std::mem::replace(&mut self.stale, read.is_err());
        match read {
            Ok(Some(sealed)) if self.sent == Some(sealed.revision) => Ok(None),
            Ok(Some(sealed)) => {
                self.sent = Some(sealed.revision);
                Ok(Some(sealed))
            }
            Ok(None) => Err(Close::Revoked),
            // The gateway goes on with what it has. The stream stays, and tries again.
            Err(error) => {
                if !was_stale {
                    tracing::warn!(gateway = %identity.id, %error, "no snapshot could be read");
                }
                Ok(None)
            }
        }
    }

    /// Takes a frame after the hello.
    ///
    /// # Errors
    /// When it could not be stored.
    pub async fn handle(&self, frame: FromGateway) -> Result<()> {
        let mut db = self.identity.app.store().connection().await?;
        let id = self.identity.id;
        match frame {
            FromGateway::Ack { revision } => gateway::applied(&mut db, self.connection, revision).await?,
            FromGateway::Refused { revision, reason } => {
                let reason = report::printable(&reason, report::REASON_MAX);
                tracing::warn!(gateway = %id, %revision, reason, "a gateway refused a snapshot");
                gateway::refused(&mut db, self.connection, revision, &reason).await?;
            }
            FromGateway::Peers { peers } => gateway::report(&mut db, id, &peers).await?,
            FromGateway::Health(health) => report::health(&mut db, id, health).await?,
            FromGateway::Counters(counters) => report::counters(&mut db, id, counters).await?,
            FromGateway::Drops { drops, missed } => report::drops(&mut db, id, drops, missed).await?,
            FromGateway::Hello { .. } | FromGateway::Unknown => {}
        }
        Ok(())
    }

    /// Notes that the gateway lives.
    ///
    /// # Errors
    /// [`Close`], where another stream took this one's place, or the gateway is gone.
    pub async fn heartbeat(&self) -> std::result::Result<(), Close> {
        let seen = async {
            let mut db = self.identity.app.store().connection().await?;
            Ok::<_, Error>(gateway::seen(&mut db, self.connection).await?)
        };
        match seen.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Close::Replaced),
            Err(error) => {
                tracing::debug!(gateway = %self.identity.id, %error, "a sign of life could not be noted");
                Ok(())
            }
        }
    }

    /// Notes that the stream ended.
    pub async fn end(self) {
        let id = self.identity.id;
        tracing::info!(gateway = %id, "gateway disconnected");
        let noted = async {
            let mut db = self.identity.app.store().connection().await?;
            Ok::<_, Error>(gateway::disconnect(&mut db, self.connection).await?)
        };
        if let Err(error) = noted.await {
            tracing::debug!(gateway = %id, %error, "the end of a stream could not be noted");
        }
    }
}

/// Tokens that were refused lately: each is worth one line in the log, however often it is tried.
#[derive(Default)]
pub(super) struct RefusedTokens(Mutex<HashSet<[u8; 32]>>);

impl RefusedTokens {
    const MAX: usize = 1024;

    /// Whether this token was not refused before. Someone who tries many fills the memory once, and then is silent.
    fn is_new(&self, hash: [u8; 32]) -> bool {
        let mut refused = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.len() < Self::MAX && refused.insert(hash)
    }
}
