//! Our engine and Debian's wireguard-go understand each other, in namespaces that each test makes for itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is to end the test where it happens")]
#![expect(clippy::print_stdout, reason = "figures measured are shown with --show-output")]

mod endpoints;
mod flood;
mod go;
mod lifetime;
mod net;
mod ns;
mod peers;
mod soak;
mod throughput;
mod transfer;
mod world;
