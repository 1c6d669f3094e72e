//! Our engine and Debian's wireguard-go understand each other, in namespaces that each test makes for itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is to end the test where it happens")]
#![expect(clippy::print_stdout, reason = "figures measured are shown with --show-output")]

mod cpu;
mod datagrams;
mod endpoints;
mod flood;
mod go;
mod injector;
mod keys;
mod lifetime;
mod many;
mod nat;
mod net;
mod ns;
mod peers;
mod rough;
mod router;
mod soak;
mod ten_thousand;
mod throughput;
mod transfer;
mod widths;
mod world;
