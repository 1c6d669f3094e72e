//! The command line. Flags come before the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::Database;

/// The control plane of NexaVPN.
#[derive(Debug, Parser)]
#[command(name = "nexa-control", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How the log is written.
    #[arg(long, env = "NEXA_CONTROL_LOG_FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Migrates the database, then serves the API until SIGTERM.
    Serve(ServeArgs),
    /// Migrates the database.
    Migrate(DatabaseArgs),
    /// Prints a token, for the next hour, that the first owner is made with. Refused once there is an owner.
    Bootstrap(DatabaseArgs),
    /// Prints the OpenAPI document.
    Openapi,
}

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "NEXA_CONTROL_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Folder of the built web app, served at /; without it only the API is.
    #[arg(long, env = "NEXA_CONTROL_WEB_DIR")]
    pub web_dir: Option<PathBuf>,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Where the database is.
#[derive(Args)]
pub struct DatabaseArgs {
    /// URL of the database: postgres://user:password@host/name.
    #[arg(
        long,
        env = "NEXA_CONTROL_DATABASE_URL",
        hide_env_values = true,
        conflicts_with = "database_url_file"
    )]
    database_url: Option<String>,
    /// File that holds the URL of the database.
    #[arg(long, env = "NEXA_CONTROL_DATABASE_URL_FILE")]
    database_url_file: Option<PathBuf>,
    /// At most this many connections to the database.
    #[arg(long, env = "NEXA_CONTROL_DATABASE_CONNECTIONS", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(4..=1000))]
    database_connections: u32,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, one object per line.
    Json,
}

impl DatabaseArgs {
    /// Reads the file, where there is one.
    ///
    /// # Errors
    /// When neither URL nor file is given, or the file cannot be read.
    pub fn database(&self) -> anyhow::Result<Database> {
        let url = match (&self.database_url, &self.database_url_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file);
                text.with_context(|| format!("reading the database URL from {}", file.display()))?
                    .trim()
                    .to_owned()
            }
            (None, None) => anyhow::bail!(
                "say where the database is: --database-url-file FILE, or NEXA_CONTROL_DATABASE_URL=postgres://…"
            ),
        };
        Ok(Database { url, max_connections: self.database_connections })
    }
}

// A URL holds a password.
impl std::fmt::Debug for DatabaseArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseArgs")
            .field("database_url_file", &self.database_url_file)
            .finish_non_exhaustive()
    }
}
