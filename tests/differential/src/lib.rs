//! One policy, three answers: `nexa_policy::eval`, the engine on the host, and the programs in the kernel.
//!
//! - [`policy`]: random snapshots in a small world, so that prefixes nest and rules collide;
//! - [`packets`]: random packets together with what a reader of the RFCs would say they are, which is not asked of
//!   the parser under test;
//! - [`craft`]: packets made by hand;
//! - [`host`]: the maps on the host, filled by the same plans as the kernel's, and [`engine`], which asks them;
//! - [`oracle`]: what must happen to a packet;
//! - [`trial`]: random cases played to whoever answers, and judged;
//! - [`shrink`] and [`words`]: of a case that went wrong, the few steps that matter, for a person to read.
//!
//! Everything random comes from a seed that a failing test prints.

pub mod craft;
pub mod engine;
pub mod host;
pub mod oracle;
pub mod packets;
pub mod policy;
pub mod shrink;
pub mod trial;
pub mod words;

/// The seed of a run: `NEXA_SEED` where it is set, to repeat a failure; otherwise a new one.
///
/// # Panics
/// When the variable is no number.
pub fn seed() -> u64 {
    match std::env::var("NEXA_SEED") {
        Ok(text) => text.parse().expect("NEXA_SEED is a number, as a failing test prints it"),
        Err(_) => fastrand::u64(..),
    }
}

/// How many times as much to do as in CI: 40 with `cargo xtask test --full`, else 1.
pub fn effort() -> usize {
    match std::env::var("NEXA_TEST_TIER").as_deref() {
        Ok("full") => 40,
        _ => 1,
    }
}
