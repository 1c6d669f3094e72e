//! The command line and the other layers of settings. [`nexa_config`] reads them; here is what there is to set.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use nexa_config::{FileRead, Program, Secret, SecretDeclaration, SecretFlag, SecretSource};

use crate::app::Database;
use crate::audit_chain::Anchor;
use crate::http::TrustedProxies;

/// The program, as far as its settings go.
pub const PROGRAM: Program = Program {
    name: "nexa-control",
    prefix: "NEXA_CONTROL",
    default_file: "/etc/nexavpn/control.toml",
    main_command: "serve",
    secrets: &[SecretDeclaration {
        name: "database_url",
        // With peer authentication it holds no password.
        flag: SecretFlag::Taken,
        file_read: FileRead::AtStart,
        needed_by: &["serve", "migrate", "bootstrap", "reset-owner", "doctor"],
    }],
    arguments: &["known", "export", "username"],
};

/// The control plane of NexaVPN.
#[derive(Debug, Parser)]
#[command(name = "nexa-control", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or one of these per module.
    #[arg(long, default_value = "info,sqlx=warn", value_parser = log_filter, global = true)]
    pub log_filter: String,
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
    /// Prints a token, for 72 hours, by which an owner who cannot sign in any more sets a password at
    /// POST /api/v1/passwords. Enables him, too.
    ResetOwner(ResetOwnerArgs),
    /// Says whether the database is one to work with, and what to do; exit 1 if there is a problem.
    Doctor(DoctorArgs),
    /// Verifies or exports the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Prints the OpenAPI document.
    Openapi,
}

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_parser = listen_address)]
    pub listen: SocketAddr,
    /// Folder of the built web app, served at /; without it only the API is.
    #[arg(long)]
    pub web_dir: Option<PathBuf>,
    /// Addresses and prefixes of the proxies in front, with commas between: their X-Forwarded-For is believed.
    #[arg(long, default_value = "", value_parser = trusted_proxies)]
    pub trusted_proxies: TrustedProxies,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Whose password to reset.
#[derive(Debug, Args)]
pub struct ResetOwnerArgs {
    /// The owner's name; may be left out where there is only one.
    #[arg(long)]
    pub username: Option<String>,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Follows the log's chain of hashes; exit 1 if it is broken. Prints where it ends: keep that elsewhere.
    Verify(VerifyArgs),
    /// Prints the log, oldest first, an entry a line, as JSON.
    Export(DatabaseArgs),
}

/// Which log to verify.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What an earlier `verify` printed: the log must still pass there. Without it, a log that was made anew as a
    /// whole, or cut off, looks whole.
    #[arg(long, value_name = "POSITION:HASH", value_parser = anchor)]
    pub known: Option<Anchor>,
    /// An exported log, in place of the database's; - is standard input.
    #[arg(long)]
    pub export: Option<PathBuf>,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where the database is.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// URL of the database: postgres://user:password@host/name.
    #[arg(long)]
    database_url: Option<Secret>,
    /// File that holds the URL of the database.
    #[arg(long)]
    database_url_file: Option<PathBuf>,
    /// At most this many connections to the database.
    #[arg(long, default_value_t = 16, value_parser = connections)]
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
    /// The URL, from wherever it is.
    ///
    /// # Errors
    /// When neither URL nor file is given, or the file cannot be read.
    pub fn database(&self) -> anyhow::Result<Database> {
        let source = SecretSource::of(self.database_url.clone(), self.database_url_file.clone());
        let url = source.context("neither `database_url` nor `database_url_file` is set")?.read()?;
        Ok(Database { url: url.expose().trim().to_owned(), max_connections: self.database_connections })
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "an address and a port, such as 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one")
}

fn trusted_proxies(text: &str) -> Result<TrustedProxies, &'static str> {
    text.parse()
}

fn anchor(text: &str) -> Result<Anchor, &'static str> {
    text.parse()
}

fn connections(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|number| (4..=1000).contains(number)).ok_or("a whole number from 4 to 1000")
}

fn log_filter(text: &str) -> Result<String, &'static str> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("error, warn, info, debug, trace, or a list such as info,nexa_control=debug"),
    }
}
