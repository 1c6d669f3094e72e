//! What the programs tell of packets that they dropped: read, folded, explained, and handed to whoever wants to know.
//!
//! [`watch()`] empties the ring buffer and never waits for anybody while it does; what nobody empties in time the programs
//! do not tell, and go on. [`Policies`] remembers what the last generations were made of, so that a drop is explained by
//! the rules that it was dropped under. [`Board`] keeps the latest drops, for `nexa-gateway drops` and for the control
//! plane. Each holds a bounded number of things, and counts what it let go.

mod board;
mod policies;
mod ring;
mod watch;

pub use board::{Begun, Board, Counts};
pub use policies::Policies;
pub use ring::Ring;
pub use watch::watch;
