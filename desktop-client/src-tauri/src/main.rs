//! `nexa-desktop`: the window of the desktop app. It opens none yet, and says so.
//!
//! Tauri arrives together with the window: docs/adr/0005-desktop-shell-without-tauri.md.
#![expect(clippy::print_stdout, reason = "what it prints is all that it does so far")]

use std::process::ExitCode;

/// `EX_UNAVAILABLE` of sysexits.h: there is no window, so that nobody may take this for a start.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    println!(
        "NexaVPN desktop {}: there is no window yet.\n\n\
         It will show one: choose a server, sign in, connect, see what is granted to you and why something is not.\n\
         The window will hold no privilege and no key; the tunnel belongs to the service nexa-tunneld.\n\
         Until then, import the configuration that the control API hands out for your device into any WireGuard app.",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(UNAVAILABLE)
}
