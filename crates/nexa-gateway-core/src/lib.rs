//! The state of a gateway, without any input or output.
//!
//! - [`model`]: from a snapshot to the policy's own terms, refused as a whole where it contradicts itself;
//! - [`lower()`]: from a policy to the entries of the BPF maps;
//! - [`install`]: which entries to write and to delete, in which order, so that no packet ever sees a mixture.
//!
//! The shell around it, in gateway-user, moves bytes and holds no policy.

pub mod install;
pub mod lower;
pub mod model;

pub use install::{Installer, Plan};
pub use lower::{LowerError, Lowered, lower};
