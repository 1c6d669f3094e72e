//! The policy as sets and classes, in which one lookup is decisive.
//!
//! A *class* is what is granted and refused on a destination; a *set* says the class of each prefix. Of a set's
//! prefixes the longest that holds a destination has the last word, since the grants of every prefix around it are
//! pushed into it. Classes are interned, and sets are by the rules that they hold: equal ones exist once, however many
//! peers share them.
//!
//! Each peer has two sets. The *shared* one holds what its combination of groups brings, the *own* one what names
//! its user or itself; a single set per peer would repeat each group's rules for every private one.
//!
//! All rules are in here, also those that do not speak yet or any more: no clock is asked. What enforces a set may have to
//! go on alone for long, and then each set must know by itself what will refuse what it admits. So **whatever denies of
//! limited times a peer has are in each of its sets that grants anything**: those of groups are repeated in its own, and
//! a peer that has one of its own has but one set, with everything in it.
//!
//! Work is proportional to what changes. A [`Compiler`] keeps what it made; a [`Change`] touches the sets that hold a
//! changed rule, and of them the prefixes that it speaks of with those inside. Compiling a whole model is the change from
//! nothing, so there is one way and not two.

mod change;
mod compiler;
mod intern;
mod ledger;
mod said;
mod set;
mod sets;
mod side_by_side;
mod tables;

use std::hash::{Hash, Hasher};

use nexa_types::{Protocol, RuleId};

pub use self::change::{Change, Touched};
pub use self::compiler::{Compiler, Expansion, MAX_EXPANSION};
pub use self::ledger::MAX_GRANTS;
pub use self::set::Set;
use crate::model::{Effect, Model, Traffic};

/// A set, for as long as any peer has it. Numbers are given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u32);

/// A class, for as long as any set has it. Numbers are given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl SetId {
    /// The set that grants nothing.
    pub const EMPTY: Self = Self(0);
}

impl ClassId {
    /// The class that grants nothing.
    pub const EMPTY: Self = Self(0);
}

/// A peer's two sets. Both are asked: any deny denies, otherwise any allow admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledPeer {
    /// The set that its combination of groups shares.
    pub shared: SetId,
    /// The set for rules that name the device or its user.
    pub own: SetId,
}

/// Grants, sorted and without repetition.
pub type Class = [Grant];

/// One rule's word on one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Whether it admits or refuses.
    pub effect: Effect,
    /// The rule.
    pub rule: RuleId,
    /// What it speaks of.
    pub traffic: Traffic,
    /// Whether it is said of this very destination, and not of a prefix that happens to hold it: then it counts also
    /// where prefixes do not.
    pub named: bool,
}

/// Compiles a whole model.
///
/// # Errors
/// [`Expansion`].
pub fn compile(model: Model) -> Result<Compiler, Expansion> {
    let Model { peers, resources, rules, implicit, excluded } = model;
    let mut compiler = Compiler::new(&implicit, excluded);
    compiler.apply(Change::from_nothing(peers, resources, rules))?;
    Ok(compiler)
}

impl Hash for Grant {
    /// In two words: whole policies are hashed, and each field by itself takes three times as long.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { effect, rule, traffic: Traffic { protocol, ports }, named } = *self;
        let protocol = match protocol {
            Protocol::Any => 0x100,
            Protocol::Tcp => 0x101,
            Protocol::Udp => 0x102,
            Protocol::Icmp => 0x103,
            Protocol::Number(number) => u16::from(number),
        };
        let small = u16::from(effect == Effect::Allow) << 12 | u16::from(named) << 11 | protocol;
        state.write_u64(u64::from(rule.0) << 32 | u64::from(ports.first()) << 16 | u64::from(ports.last()));
        state.write_u16(small);
    }
}
