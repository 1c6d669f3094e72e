//! The TUN device, the UDP socket and the readiness of both, as this operating system has them.
//!
//! Linux is the one that is built. `macos` and `windows` say what is to come there, and are `stub` until then: the same
//! types, of which there is no value. The feature `stub-platform` puts it in Linux' place, so that a check here finds
//! what the rest of the crate asks of a platform and a stub does not have.

mod error;
mod ready;

#[cfg(all(target_os = "linux", not(feature = "stub-platform")))]
mod linux;
#[cfg(any(target_os = "macos", feature = "stub-platform"))]
mod macos;
#[cfg(any(not(target_os = "linux"), feature = "stub-platform"))]
mod stub;
#[cfg(any(target_os = "windows", feature = "stub-platform"))]
mod windows;

pub use error::TunError;
pub(crate) use ready::Ready;

#[cfg(all(target_os = "linux", not(feature = "stub-platform")))]
use linux as here;
#[cfg(any(target_os = "macos", all(target_os = "linux", feature = "stub-platform")))]
use macos as here;
#[cfg(target_os = "windows")]
use windows as here;

pub use here::Tun;
pub(crate) use here::{Poll, RecvRing, SendBatch, UdpSocket, Wakeup, WriteBatch, index_of, is_deleted};
