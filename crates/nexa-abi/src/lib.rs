//! The contract between the BPF programs and user space.
//!
//! Everything here compiles for the kernel and for the host, so that what is tested is what runs:
//! - [`layout`]: keys and values of the maps, byte for byte;
//! - [`packet`]: from the bytes of an IP packet to the tuple that policy speaks of;
//! - [`engine`]: the order in which the maps are asked, and what the answers mean;
//! - [`reason`]: why a packet was dropped;
//! - [`xdp_guard`]: what may reach the WireGuard port from outside.
//!
//! A function that both sides must agree on belongs here; one that only one side needs does not.
#![no_std]

pub mod engine;
pub mod layout;
pub mod packet;
#[cfg(feature = "aya")]
mod pod;
pub mod reason;
pub mod xdp_guard;

/// The bits of a packet's mark that are ours. The nft guard looks at no others.
pub const MARK_MASK: u32 = 0x00ff_0000;

/// Value of the masked bits on packets that the ingress program admitted.
pub const MARK_ALLOWED: u32 = 0x004e_0000;
