//! `nexa-gateway`: see the library for what it does.

use std::io;
use std::process::ExitCode;

use nexa_config::Inputs;
use nexa_gateway::config::{Command, CommandLine, PROGRAM};
use nexa_gateway::{ask, doctor, logging, supervise};
use nexa_wire::doctor::Form;

// A feature that some other crate asks for in the same build shall not end here.
const _: () =
    assert!(nexa_tunnel::ENCRYPTS, "a gateway encrypts: build it without nexa-tunnel's copy-cipher");

fn main() -> ExitCode {
    let line: CommandLine = match nexa_config::read(&PROGRAM, &Inputs::of_process(&PROGRAM)) {
        Ok(line) => line,
        Err(stop) => return stop.tell(&PROGRAM),
    };
    match line.command {
        Command::Doctor(settings) => {
            let report = doctor::run(&settings);
            let form = if settings.json { Form::Json } else { Form::Text };
            // Who stops reading, like `head`, has read enough.
            let _ = report.write(form, &mut io::stdout());
            if report.has_problem() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Command::Status(asking) => ask::status(&asking),
        Command::Explain(explain) => ask::explain(&explain),
        Command::Flows(flows) => ask::flows(&flows),
        Command::Drops(drops) => ask::drops(&drops),
        Command::Verify(asking) => ask::verify(&asking),
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
