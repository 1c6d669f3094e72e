//! The frame of all benches, and the benches.
//!
//! A bench compares cases in one run: each round runs every case once, in an order that rotates ([`interleave`]), so
//! that a machine that becomes slower in the middle is slower for all of them. A figure is the median of at least five
//! rounds, with the least and the greatest ([`stats`]), and stands beside the machine's floors ([`floors`]): what the
//! same machine does, in the same run, where nothing of ours is in the way. A goal ([`goal`]) that is missed is
//! reported as missed, and is the exit code ([`report`]).

pub mod benches;
pub mod floors;
pub mod goal;
pub mod interleave;
pub mod ledger;
pub mod machine;
pub mod ratio;
pub mod report;
pub mod stats;
