//! `nexa`: the desktop app without a window, for terminals and servers. It has no command yet, and says so.
#![expect(clippy::print_stdout, reason = "what it prints is all that it does so far")]

use clap::Parser;

/// NexaVPN on the command line: sign in, connect, see what is granted.
///
/// There is no command yet. It will have login, up, down, status, resources, why and logs, and speak with the
/// same service as the desktop app. Until then, import the configuration that the control API hands out for your
/// device into any WireGuard app.
#[derive(Parser)]
#[command(name = "nexa", version)]
struct Cli {}

fn main() {
    let Cli {} = Cli::parse();
    println!("nexa {}: there is no command yet; see `nexa --help`.", env!("CARGO_PKG_VERSION"));
}
