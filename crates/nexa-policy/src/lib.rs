//! The policy of a network, free of any place where it is stored, sent or enforced.
//!
//! - [`model`]: peers, resources and rules;
//! - [`eval()`]: the verdict on one packet, by asking every rule. **This is the specification**: the compiler, the
//!   BPF programs and every preview must give the same answer;
//! - [`explain()`]: the same verdict, with the rule that came closest to admitting;
//! - [`compile()`]: the same policy as sets and classes, in which one lookup is decisive.
//!
//! Deny beats allow; otherwise any allow admits; otherwise nothing is allowed. Rules have no order. A rule with limits in
//! time speaks within them only; the instant is always an argument.

pub mod compile;
pub mod eval;
pub mod explain;
pub mod model;

pub use compile::{Compiler, compile};
pub use eval::{Decision, Probe, eval};
pub use explain::{Explanation, explain};
pub use model::Model;
