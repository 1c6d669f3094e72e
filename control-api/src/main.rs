//! `nexa-control`: the control plane.
#![expect(clippy::print_stdout, reason = "`bootstrap` and `openapi` print what they are asked for")]

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Parser as _;
use nexa_control::app::App;
use nexa_control::config::{Cli, Command, LogFormat};
use nexa_control::{http, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    start_log(cli.log_format);
    match cli.command {
        Command::Serve(args) => {
            let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
            let stop = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            serve::serve(args.listen, &args.database.database()?, args.web_dir.as_deref(), stop).await
        }
        Command::Migrate(args) => App::migrate(&args.database()?).await,
        Command::Bootstrap(args) => {
            println!("{}", App::make_bootstrap_token(&args.database()?).await?);
            Ok(())
        }
        Command::Openapi => {
            println!("{}", http::openapi().to_pretty_json()?);
            Ok(())
        }
    }
}

/// Logs to standard error: standard output is for what was asked for.
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
