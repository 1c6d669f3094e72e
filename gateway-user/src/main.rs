//! `nexa-gateway`: see the library for what it does.
#![expect(clippy::print_stdout, reason = "`check` is for a person's terminal")]

use std::process::ExitCode;

use nexa_config::Inputs;
use nexa_gateway::config::{Command, CommandLine, PROGRAM};
use nexa_gateway::{logging, preflight, supervise};

fn main() -> ExitCode {
    let line: CommandLine = match nexa_config::read(&PROGRAM, &Inputs::of_process(&PROGRAM)) {
        Ok(line) => line,
        Err(stop) => return stop.tell(&PROGRAM),
    };
    match line.command {
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
