//! The database: all SQL of the project is below here, and only `app` reaches it.
//!
//! A change can be committed only together with its audit row, and one that gateways see only with a new revision:
//! [`Change`] offers no other way.
//!
//! Queries are checked when the program is built, against `.sqlx`, but for those of `doctor`, whose database may be of
//! any version. After a change of one, write that anew with a migrated database at hand:
//! `DATABASE_URL=… SQLX_OFFLINE_DIR=$PWD/control-api/.sqlx cargo check -p nexa-control`.

pub(crate) mod api_token;
pub(crate) mod audit;
pub(crate) mod bootstrap;
mod change;
pub(crate) mod device;
pub(crate) mod doctor;
mod doorbell;
pub(crate) mod drop;
mod error;
pub(crate) mod gateway;
pub(crate) mod group;
pub(crate) mod network;
pub(crate) mod one_time_token;
pub(crate) mod report;
pub(crate) mod resource;
pub(crate) mod rule;
pub(crate) mod session;
pub(crate) mod snapshot;
pub(crate) mod user;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

pub(crate) use change::{AuditEntry, Change};
pub(crate) use doorbell::{Doorbell, Ring};
/// A connection, or the one of a transaction.
pub(crate) type Db = sqlx::PgConnection;

pub(crate) use error::{Result, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// By which the server's views know our connections.
const APPLICATION_NAME: &str = "nexa-control";

/// How long a request waits for a connection before the database counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(4);

/// A pool of connections to the database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: PgPool,
}

impl Store {
    /// Prepares a pool; connects on first use.
    ///
    /// # Errors
    /// When `url` is no PostgreSQL URL.
    pub(crate) fn new(url: &str, max_connections: u32) -> Result<Self> {
        // No statement of ours takes long: one that does is stuck, and must not keep the network row locked.
        let options = PgConnectOptions::from_str(url)?.application_name(APPLICATION_NAME).options([
            ("statement_timeout", "15s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "15s"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Brings the schema up to date. Takes a lock first, so that servers that start together take turns.
    ///
    /// # Errors
    /// When the database is away, or of a newer version than this program.
    pub(crate) async fn migrate(&self) -> std::result::Result<(), sqlx::migrate::MigrateError> {
        // A migration may take as long as it needs, and so may waiting for another server's.
        let options = (*self.pool.connect_options()).clone();
        let patient = options.options([("statement_timeout", "0"), ("lock_timeout", "0")]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(patient);
        let done = MIGRATIONS.run(&pool).await;
        pool.close().await;
        done
    }

    /// Gives rows of the audit log that have no place in its chain one.
    pub(crate) async fn chain_older_audit(&self) -> Result<()> {
        loop {
            let mut transaction = self.pool.begin().await?;
            let all = audit::chain_older(&mut transaction, 1000).await?;
            transaction.commit().await?;
            if all {
                return Ok(());
            }
        }
    }

    /// A connection for reads, and for what is no change: heartbeats, reports, clearing away.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction that reads one state of the database throughout.
    pub(crate) async fn consistent_read(&self) -> Result<Transaction<'static, Postgres>> {
        Ok(self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
    }

    /// Begins a change that gateways do not see.
    pub(crate) async fn change(&self) -> Result<Change> {
        Change::begin(&self.pool).await
    }

    /// Begins a change that gateways do not see, of something whose other changes they do see: it takes turns with
    /// those, so that neither writes back what it read before the other.
    pub(crate) async fn ordered_change(&self) -> Result<Change> {
        Change::begin_ordered(&self.pool).await
    }

    /// Begins a change that gateways see. Such changes take turns, whichever server they come through.
    pub(crate) async fn visible_change(&self) -> Result<Change> {
        Change::begin_visible(&self.pool).await
    }

    /// Begins a change that gateways see, with a revision beyond one that a gateway has already.
    pub(crate) async fn change_beyond(&self, known: i64) -> Result<Change> {
        Change::begin_beyond(&self.pool, known).await
    }

    /// Whether the database answers and its schema is one that this program knows.
    pub(crate) async fn ready(&self) -> Result<bool> {
        let applied =
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM _sqlx_migrations WHERE success"#)
                .fetch_one(&self.pool)
                .await?;
        Ok(usize::try_from(applied).is_ok_and(|applied| applied >= MIGRATIONS.iter().count()))
    }

    /// Listens for changes that gateways see.
    pub(crate) async fn doorbell(&self) -> Result<Doorbell> {
        Doorbell::listen(&self.pool).await
    }

    /// Closes all connections, once those in use are given back.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
