//! `wg` and `wg-quick` of Debian's wireguard-tools set up, show and change interfaces of `nexa-wg`.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is to end the test where it happens")]

mod lifetime;
mod offload;
mod pair;
mod quick;
mod tool;
