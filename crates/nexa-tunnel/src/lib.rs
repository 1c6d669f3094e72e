//! Userspace WireGuard: the protocol core of boringtun inside our own packet loop.
//!
//! One OS thread per [`Engine`] runs every packet to completion: from the TUN device through the cipher into the
//! UDP socket and back, without a channel, lock or allocation per packet. Only `boringtun::noise` is used.
//!
//! The parts, pure ones first:
//! - `lpm`: longest-prefix match over allowed IPs; `wheel`: coarse timers; `packet`: inner headers; `sources`: shares
//!   under load; `offload`: cutting large TCP and datagrams sent together, and joining them.
//! - `table`: the peers and their three lookups (public key, receiver index, address).
//! - `cipher`: what seals and opens data.
//! - `core`: what happens to each datagram, packet and timer.
//! - `spin`: whether to look again before sleeping.
//! - `platform`: the TUN device and the UDP socket of this operating system.
//! - `engine`: the handle that the rest of the program holds.
//! - `uapi`: the socket by which `wg` shows and sets a tunnel.
//!
//! **Invariants.** An inner packet leaves for the device only when the longest match of its source over *all* peers
//! is the peer that sent it. A peer's endpoint changes only after a packet that only this peer could have made *now*:
//! data under a live session or the answer to our own handshake, never a handshake initiation, which can be
//! a replay. The engine never deletes the interface: address, routes and programs on it outlive the process.

#![cfg_attr(
    any(not(target_os = "linux"), feature = "stub-platform"),
    expect(dead_code, reason = "offloads, which only Linux has so far")
)]

#[cfg(test)]
mod by_hand;
mod cipher;
mod config;
mod core;
mod desired;
mod drops;
mod engine;
mod event_loop;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod lpm;
mod offload;
mod packet;
mod peer;
mod platform;
mod sources;
mod spin;
mod table;
#[cfg(unix)]
mod uapi;
mod wheel;

pub use cipher::ENCRYPTS;
pub use config::{PeerChanges, PeerConfig, PeerError, PeerStatus};
pub use drops::{DropCounts, DropReason};
pub use engine::{Changes, Engine, EngineError, Receivers, SocketOptions};
pub use key::{PrivateKey, Psk};
pub use platform::{Tun, TunError};
#[cfg(unix)]
pub use uapi::{ApiError, UserspaceApi};
