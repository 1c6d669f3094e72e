//! `nexa-gateway`: see the library for what it does.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "`check` and start-up errors are for a person's terminal"
)]

use std::process::ExitCode;

use nexa_gateway::config::{self, Command};
use nexa_gateway::{logging, preflight, supervise};

fn main() -> ExitCode {
    let command = match config::from_process() {
        Ok(command) => command,
        Err(config::Stop::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(config::Stop::Invalid(text)) => {
            eprintln!("nexa-gateway: {text}");
            return ExitCode::from(config::EXIT_USAGE);
        }
    };
    match command {
        Command::Check(host) => {
            let findings = preflight::run(&host);
            print!("{}", preflight::render(&findings));
            if findings.iter().all(preflight::Finding::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Run(settings) => {
            logging::start(settings.log_format, &settings.log_filter);
            match supervise::run(*settings) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("the gateway cannot go on: {error:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
