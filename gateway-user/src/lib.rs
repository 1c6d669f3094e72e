//! The gateway daemon around the policy programs: it moves snapshots, packets and numbers, and decides nothing.
//!
//! - [`supervise`]: the order of everything at start, and the loop after it; [`gateway`]: one snapshot at a time.
//! - [`stream`]: the control plane's WebSocket; [`store`]: the last good snapshot on disk.
//! - [`tunnel`]: the WireGuard engine and where its peers were; [`net`]: netlink and kernel settings.
//! - [`dataplane`]: the programs on the tunnel's interface and their maps.
//! - [`events`]: what the programs tell of dropped packets, explained.
//! - [`xdp_guard`]: the program on the uplink that drops junk for the tunnel's port.
//! - [`guard`]: the nft table behind the programs, and who watches it.
//! - [`preflight`]: what the gateway cannot do without; [`doctor`]: that, and what else gets in its way.
//! - [`local`]: questions of this host's root, over a Unix socket; [`ask`] puts them; [`verify`] looks at the maps.
//! - [`config`], [`key`], [`logging`], [`metrics`], [`status`]: what their names say.
//!
//! **Invariants.** No packet passes before the programs are attached, the guard is loaded and a policy (maybe an
//! empty one) is in force; `tests/netns/guard.rs` holds the guard's part. A snapshot comes into force whole or not
//! at all. When the daemon ends, however it ends, programs and guard stay.

pub mod ask;
pub mod config;
pub mod dataplane;
pub mod doctor;
pub mod events;
pub mod files;
pub mod gateway;
pub mod guard;
pub mod key;
pub mod local;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod preflight;
pub mod reports;
pub mod status;
pub mod store;
pub mod stream;
pub mod supervise;
pub mod tunnel;
pub mod verify;
pub mod xdp_guard;

#[cfg(test)]
mod fixture;
