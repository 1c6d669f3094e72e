//! `nexactl`: the admin's command line over the public API.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line answers on its terminal")]

mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Administers a NexaVPN installation through its public API.
///
/// There is `status` so far; everything else is done through the API itself, documented at /api/docs of the server.
#[derive(Parser)]
#[command(name = "nexactl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says whether the control API answers and is ready to serve; exits with 1 if not.
    Status(status::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Status(args) => status::run(&args),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nexactl: {error:#}");
            ExitCode::FAILURE
        }
    }
}
