//! `nexa-control`: the control plane.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "commands print what they are asked for")]

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use nexa_config::Inputs;
use nexa_control::app::audit::{self, Verdict};
use nexa_control::app::{App, doctor, reset_owner};
use nexa_control::config::{AuditCommand, Cli, Command, LogFormat, PROGRAM};
use nexa_control::http::{self, Serving};
use nexa_control::serve;
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
            let serving =
                Serving { web: args.web_dir.as_deref(), trusted_proxies: Some(&args.trusted_proxies) };
            serve::serve(args.listen, &args.database.database()?, serving, stop).await?;
        }
        Command::Migrate(args) => App::migrate(&args.database()?).await?,
        Command::Bootstrap(args) => {
            println!("{}", App::make_bootstrap_token(&args.database()?).await?);
        }
        Command::ResetOwner(args) => {
            println!("{}", reset_owner(&args.database.database()?, args.username.as_deref()).await?);
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
        Command::Audit(command) => return audit(command).await,
        Command::Openapi => {
            println!("{}", http::openapi().to_pretty_json()?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn audit(command: AuditCommand) -> anyhow::Result<ExitCode> {
    let args = match command {
        AuditCommand::Export(args) => {
            audit::export(&args.database()?, &mut io::BufWriter::new(io::stdout().lock())).await?;
            return Ok(ExitCode::SUCCESS);
        }
        AuditCommand::Verify(args) => args,
    };
    let verdict = match args.export.as_deref() {
        None => audit::verify(&args.database.database()?, args.known).await?,
        Some(path) if path == "-" => audit::verify_export(io::stdin().lock(), args.known)?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            audit::verify_export(io::BufReader::new(file), args.known)?
        }
    };
    match verdict {
        Verdict::Whole(end) => {
            println!("{end}");
            return Ok(ExitCode::SUCCESS);
        }
        Verdict::Broken(broken) => eprintln!("the audit log is not as it was written: {broken}"),
        Verdict::Unchained(rows) => eprintln!(
            "{rows} rows are not in the chain: a server of an older version wrote them, or somebody else. A start of \
             this version's server takes them in; look at them before"
        ),
    }
    Ok(ExitCode::FAILURE)
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
