//! `nexa-tunneld`: the privileged half of the desktop app. Not built yet, and it says so.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is all that it does so far")]

use std::env;
use std::process::ExitCode;

/// `EX_USAGE` of sysexits.h: called wrongly.
const USAGE: u8 = 64;
/// `EX_UNAVAILABLE` of sysexits.h: the service does not exist yet, which a service manager must not take for a start.
const UNAVAILABLE: u8 = 69;

const HELP: &str = "\
nexa-tunneld: the tunnel service of the NexaVPN desktop app.

It will make and keep the device's key, run the WireGuard tunnel, and set addresses, routes, DNS and the kill
switch, for the window and the `nexa` command, which have no privileges. None of this is built yet: started, it
exits with status 69. Until then, import the configuration that the control API hands out for your device into any
WireGuard app.

Usage: nexa-tunneld [--help | --version]";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.iter().map(|argument| argument.to_str()).collect::<Option<Vec<_>>>().as_deref() {
        Some([]) => {
            eprintln!("{HELP}");
            ExitCode::from(UNAVAILABLE)
        }
        Some(["--help" | "-h"]) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(["--version" | "-V"]) => {
            println!("nexa-tunneld {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("nexa-tunneld: these arguments are not known; see `nexa-tunneld --help`");
            ExitCode::from(USAGE)
        }
    }
}
