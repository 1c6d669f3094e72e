//! `nexa-gateway`: see the library for what it does.
#![expect(clippy::print_stdout, reason = "`doctor` is for a person's terminal")]

use std::process::ExitCode;

use nexa_config::Inputs;
use nexa_gateway::config::{Command, CommandLine, PROGRAM};
use nexa_gateway::{doctor, logging, supervise};

fn main() -> ExitCode {
    let line: CommandLine = match nexa_config::read(&PROGRAM, &Inputs::of_process(&PROGRAM)) {
        Ok(line) => line,
        Err(stop) => return stop.tell(&PROGRAM),
    };
    match line.command {
        Command::Doctor(settings) => {
            let report = doctor::run(&settings);
            if settings.json {
                let text = serde_json::to_string_pretty(&report).expect("a report of texts is JSON");
                println!("{text}");
            } else {
                print!("{report}");
            }
            if report.has_problem() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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
