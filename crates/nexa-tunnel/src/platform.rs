//! The TUN device, the UDP socket and the readiness of both, as this operating system has them.
//! Linux is the one that is built; macOS (utun) and Windows (wintun) get a folder of their own with the same types.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{Poll, Ready, RecvRing, SendBatch, UdpSocket, Wakeup, WriteBatch, index_of};
#[cfg(target_os = "linux")]
pub use linux::{Tun, TunError};
