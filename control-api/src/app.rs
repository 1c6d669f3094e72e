//! What the control plane does, free of HTTP and of SQL.
//!
//! [`App`] offers what nobody has to be known for: signing in, the bootstrap, health. Everything else hangs on a
//! [`Caller`], an [`Admin`] or a [`GatewayStream`], which only authorization makes.

mod api_token;
pub mod audit;
mod bootstrap;
mod caller;
mod changes;
mod device;
pub mod doctor;
mod enrolment_token;
mod error;
mod gateway;
mod gateway_stream;
mod group;
mod housekeeping;
mod input;
mod network;
mod page;
mod password;
mod password_link;
mod profile;
mod report;
mod resource;
mod rule;
mod session;
mod sign_in_limit;
mod snapshot;
mod token;
mod user;
mod wg_quick;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexa_types::Revision;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use api_token::CreateApiToken;
pub use bootstrap::BootstrapRequest;
pub use caller::{Admin, Caller, Reader, Touch};
pub use device::{EnrolRequest, UpdateDevice};
pub use enrolment_token::EnrolByToken;
pub use error::Error;
pub use gateway::{CreateGateway, UpdateGateway};
pub use gateway_stream::{Close, GatewayIdentity, GatewayStream, HEARTBEAT};
pub use group::CreateGroup;
pub use network::UpdateNetwork;
pub use password_link::{SetPassword, reset_owner};
pub use resource::ResourceBody;
pub use rule::{CreateRule, UpdateRule};
pub use session::SignIn;
pub use user::{CreateUser, UpdateUser};

use crate::store::Store;

/// Result of what the application does.
pub type Result<T> = std::result::Result<T, Error>;

/// How to reach the database.
#[derive(Clone)]
pub struct Database {
    /// `postgres://user:password@host/name`.
    pub url: String,
    /// At most this many connections.
    pub max_connections: u32,
}

// A URL holds a password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// The application. Clones are the same one.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    store: Store,
    passwords: password::Passwords,
    sign_ins: Arc<sign_in_limit::SignInLimit>,
    revisions: watch::Receiver<Revision>,
    snapshots: snapshot::Cache,
    refused: gateway_stream::RefusedTokens,
    streams: Arc<Semaphore>,
}

/// At most this many streams of gateways at once.
const MAX_STREAMS: u32 = 10_000;
/// How long the streams may take to end when the server stops.
const STREAMS_END: Duration = Duration::from_secs(2);

/// What runs beside the requests. Dropped or stopped, it ends, and the gateways' streams end with it.
pub struct Background(JoinSet<()>);

impl App {
    /// Brings the schema up to date, then starts. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the database is away or its URL is wrong, or the schema is of a newer version than this program.
    pub async fn start(database: &Database) -> anyhow::Result<(Self, Background)> {
        let store = Store::new(&database.url, database.max_connections)?;
        prepare(&store).await?;
        let (sender, revisions) = watch::channel(Revision(0));
        let mut background = JoinSet::new();
        changes::spawn(&mut background, &store, sender);
        let sign_ins = Arc::new(sign_in_limit::SignInLimit::default());
        let app = Self(Arc::new(Inner {
            store: store.clone(),
            passwords: password::Passwords::new()?,
            sign_ins: Arc::clone(&sign_ins),
            revisions,
            snapshots: snapshot::Cache::default(),
            refused: gateway_stream::RefusedTokens::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS as usize)),
        }));
        background.spawn(housekeeping::run(store, sign_ins));
        Ok((app, Background(background)))
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn migrate(database: &Database) -> anyhow::Result<()> {
        let store = Store::new(&database.url, 1)?;
        prepare(&store).await?;
        store.close().await;
        Ok(())
    }

    /// Whether requests can be served now.
    ///
    /// # Errors
    /// [`Error::DatabaseAway`] where the database does not answer or its schema is older than this program.
    pub async fn ready(&self) -> Result<()> {
        if self.0.store.ready().await? {
            Ok(())
        } else {
            Err(Error::DatabaseAway("its schema is not migrated".into()))
        }
    }

    /// Waits a moment for the streams to end, once the background has stopped; then gives all connections to the
    /// database back.
    pub async fn close(&self) {
        let ended = self.0.streams.acquire_many(MAX_STREAMS);
        if tokio::time::timeout(STREAMS_END, ended).await.is_err() {
            tracing::debug!("some streams did not end in time");
        }
        self.0.store.close().await;
    }

    fn store(&self) -> &Store {
        &self.0.store
    }
}

/// Brings schema and audit log up to date.
async fn prepare(store: &Store) -> anyhow::Result<()> {
    store.migrate().await?;
    Ok(store.chain_older_audit().await?)
}

impl Background {
    /// Ends it; streams of gateways close.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }
}
