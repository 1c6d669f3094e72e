//! The state of a gateway, without any input or output.
//!
//! - [`model`]: from a snapshot to the policy's own terms, refused as a whole where it contradicts itself;
//! - [`lower()`]: from a policy at an instant to the entries of the BPF maps;
//! - [`content`]: what the maps are meant to hold, and how what they hold differs;
//! - [`events`]: what the programs tell of dropped packets, folded;
//! - [`explain()`]: what the rules say of a packet, and which of them came closest;
//! - [`install`]: which entries to write and to delete, in which order, so that no packet ever sees a mixture.
//! - [`room`]: whether that fits into the maps;
//! - [`restrict()`]: what stays in force when the policy that should follow does not fit.
//!
//! The shell around it, in gateway-user, moves bytes and holds no policy.

pub mod content;
pub mod events;
pub mod explain;
pub mod install;
pub mod lower;
pub mod model;
pub mod restrict;
pub mod room;
mod schedule;
mod slots;

pub use content::Content;
pub use explain::explain;
pub use install::{Installer, Plan};
pub use lower::{LowerError, Lowered, lower};
pub use restrict::{affected, restrict};
pub use room::{Overflow, Room};
