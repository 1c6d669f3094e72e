//! What `doctor` asks of a database of which nothing is known yet.
//!
//! These queries are checked when they run: they look at the server's catalogue, and at a schema that may be of any
//! version or absent.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{APPLICATION_NAME, MIGRATIONS, user};

/// For the connection, and again for all questions.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The URL is none. What is wrong with it is not said: it holds a password.
    Url,
    /// Nobody answers.
    Silent,
    /// The system refused.
    Io(std::io::Error),
    /// TLS did not come about.
    Tls(String),
    /// The server refused: its code and its words.
    Server(String, String),
    /// Something else.
    Other(String),
}

/// Where the URL points to.
#[derive(Debug)]
pub(crate) struct Address {
    /// For people, without user and password.
    pub(crate) shown: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    /// Whether no network is in between.
    pub(crate) is_local: bool,
    /// Whether the server has to prove who it is.
    pub(crate) is_verified: bool,
}

/// How the server is.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Server {
    pub(crate) version: String,
    pub(crate) version_number: i32,
    pub(crate) in_recovery: bool,
    pub(crate) read_only: bool,
    /// For everybody but superusers.
    pub(crate) connections: i32,
    /// Of others than this program.
    pub(crate) connections_in_use: i64,
    pub(crate) encrypted: bool,
}

/// How the schema is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// As this program knows it.
    Current,
    /// So many migrations are still to come.
    Pending(usize),
    /// A later program migrated it to this version.
    Newer(i64),
    /// This migration is not the one that this program has.
    Changed(i64),
    /// This migration began and did not end.
    Unfinished(i64),
}

/// A connection for looking.
#[derive(Debug)]
pub(crate) struct Look(PgConnection);

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ConnectError::Url`].
    pub(crate) fn of(url: &str) -> Result<Self, ConnectError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?;
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        let user = options.get_username().to_owned();
        let database = options.get_database().unwrap_or(&user).to_owned();
        let is_socket = options.get_socket().is_some() || host.starts_with('/');
        let is_loopback = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        let place = match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => format!("{host}:{port}"),
        };
        let is_verified = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        let shown = format!("{database} at {place}");
        Ok(Self { shown, host, port, user, database, is_local: is_socket || is_loopback, is_verified })
    }
}

impl Look {
    /// Connects, once.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(crate) async fn connect(url: &str) -> Result<Self, ConnectError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?;
        let options = options
            .application_name(APPLICATION_NAME)
            .options([("statement_timeout", "5s"), ("lock_timeout", "5s")])
            .disable_statement_logging();
        match tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => Ok(Self(connection)),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ConnectError::Silent),
        }
    }

    /// How the server is.
    pub(crate) async fn server(&mut self) -> sqlx::Result<Server> {
        let sql = "SELECT current_setting('server_version') AS version,
                   current_setting('server_version_num')::int AS version_number,
                   pg_is_in_recovery() AS in_recovery,
                   current_setting('default_transaction_read_only')::bool AS read_only,
                   current_setting('max_connections')::int
                     - current_setting('superuser_reserved_connections')::int AS connections,
                   (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL
                     AND application_name IS DISTINCT FROM $1) AS connections_in_use,
                   coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted";
        sqlx::query_as(sql).bind(APPLICATION_NAME).fetch_one(&mut self.0).await
    }

    /// How far the server's clock is ahead of ours; the way there and back counts half.
    pub(crate) async fn clock_ahead(&mut self) -> sqlx::Result<TimeDelta> {
        let before = Utc::now();
        let theirs: DateTime<Utc> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut self.0).await?;
        let half = (Utc::now() - before) / 2;
        Ok(theirs - (before + half))
    }

    /// How the schema is.
    pub(crate) async fn schema(&mut self) -> sqlx::Result<Schema> {
        let known = MIGRATIONS.iter().count();
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&mut self.0)
            .await?;
        if !exists {
            return Ok(Schema::Pending(known));
        }
        let applied: Vec<(i64, bool, Vec<u8>)> =
            sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
                .fetch_all(&mut self.0)
                .await?;
        for (version, success, checksum) in &applied {
            match MIGRATIONS.iter().find(|migration| migration.version == *version) {
                None => return Ok(Schema::Newer(*version)),
                Some(_) if !success => return Ok(Schema::Unfinished(*version)),
                Some(migration) if *migration.checksum != **checksum => return Ok(Schema::Changed(*version)),
                Some(_) => {}
            }
        }
        let pending = known - applied.len();
        Ok(if pending == 0 { Schema::Current } else { Schema::Pending(pending) })
    }

    /// Whether an owner was ever made; the schema is current.
    pub(crate) async fn any_owner(&mut self) -> super::Result<bool> {
        user::any_owner(&mut self.0).await
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(error) => Self::Io(error),
            sqlx::Error::Tls(error) => Self::Tls(error.to_string()),
            sqlx::Error::Database(error) => {
                Self::Server(error.code().unwrap_or_default().into_owned(), error.message().to_owned())
            }
            sqlx::Error::Configuration(_) => Self::Url,
            error => Self::Other(error.to_string()),
        }
    }
}
