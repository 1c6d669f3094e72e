//! The userspace API: the socket by which `wg` shows and sets a tunnel (<https://www.wireguard.com/xplatform/>).
//!
//! `request` reads what was asked, `merge` says which peers that comes to, `answer` writes what is; they are pure.
//! `server` is the socket.
//!
//! A request is judged as a whole, by the peers that it comes to. Where kernel WireGuard takes an allowed IP from the
//! peer that has it, this refuses (docs/adr/0013).

mod answer;
mod merge;
mod request;
mod server;

pub use server::{ApiError, UserspaceApi};

/// Reads a request, for nothing.
#[cfg(feature = "fuzzing")]
pub(crate) fn read(bytes: &[u8]) {
    let _ = request::parse(bytes);
}
