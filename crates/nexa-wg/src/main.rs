//! `nexa-wg INTERFACE`: the tunnel engine alone, on an interface that `wg` sets up, as wireguard-go and boringtun-cli do it.
//!
//! ```text
//! nexa-wg wg0 && wg setconf wg0 wg0.conf && ip address add 10.8.0.2/24 dev wg0 && ip link set wg0 up
//! WG_QUICK_USERSPACE_IMPLEMENTATION=nexa-wg wg-quick up wg0
//! ```
//!
//! It goes to the background once `wg` finds it, and ends when its socket or its interface is deleted, or on SIGTERM.

mod background;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;

// Only who asks for a build without a cipher gets one.
const _: () = assert!(nexa_tunnel::ENCRYPTS || cfg!(feature = "copy-cipher"), "this build would not encrypt");

/// What is logged unless RUST_LOG says otherwise. boringtun calls every peer that falls silent an error.
const LOGGED: &str = "info,boringtun=off";

/// Runs a WireGuard interface in userspace.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Stays in the foreground, and logs to standard error (RUST_LOG=debug for more).
    #[arg(short, long)]
    foreground: bool,
    /// The interface, which is made: up to 15 letters, digits, `-`, `_` and `.`.
    interface: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reading is no reason for a panic.
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if !nexa_tunnel::ENCRYPTS {
        drop(writeln!(std::io::stderr(), "nexa-wg: a build for benches: NOTHING IS ENCRYPTED"));
    }
    if arguments.foreground {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        return serve::serve(&arguments.interface, &|| Ok(()));
    }
    background::run(|ready| serve::serve(&arguments.interface, ready))
}
