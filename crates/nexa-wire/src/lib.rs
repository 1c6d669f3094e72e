//! Messages between the processes of NexaVPN, each with a version.
//!
//! - [`snapshot`]: what a gateway needs to know; the content that both the stream and the file on disk carry.
//! - [`delta`]: what is different between two of them.
//! - [`gateway`]: the frames of the WebSocket between a gateway and the control plane.
//! - [`doctor`]: what the daemons find when they look at themselves and their host.
//! - [`drops`]: packets that a gateway dropped, as both it and the control plane are told of them.
//! - [`local`]: what the daemon of a gateway answers on its own host.
//!
//! The shapes are held by the snapshot tests in `tests/`: a change there is a change of the protocol.

pub mod delta;
pub mod doctor;
pub mod drops;
pub mod gateway;
pub mod local;
pub mod snapshot;
