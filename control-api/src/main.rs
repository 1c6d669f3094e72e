//! `nexa-control`: the control plane.
#![expect(clippy::print_stdout, reason = "`bootstrap` and `openapi` print what they are asked for")]

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use nexa_config::Inputs;
use nexa_control::app::{App, doctor};
use nexa_control::config::{Cli, Command, LogFormat, PROGRAM};
use nexa_control::{http, serve};
use nexa_wire::doctor::Form;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = match nexa_config::read(&PROGRAM, &Inputs::of_process(&PROGRAM)) {
        Ok(cli) => cli,
        Err(stop) => return Ok(stop.tell(&PROGRAM)),
    };
    start_log(cli.log_format, &cli.log_filter);
    run(cli.command)
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
            let stop = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            serve::serve(args.listen, &args.database.database()?, args.web_dir.as_deref(), stop).await?;
        }
        Command::Migrate(args) => App::migrate(&args.database()?).await?,
        Command::Bootstrap(args) => {
            println!("{}", App::make_bootstrap_token(&args.database()?).await?);
        }
        Command::Doctor(args) => {
            let report = doctor::look(&args.database.database()?).await;
            let form = if args.json { Form::Json } else { Form::Text };
            // Who stops reading, like `head`, has read enough.
            let _ = report.write(form, &mut io::stdout());
            if report.has_problem() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Openapi => {
            println!("{}", http::openapi().to_pretty_json()?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs to standard error: standard output is for what was asked for.
fn start_log(format: LogFormat, filter: &str) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
