//! Prefixes, each with the class that every prefix around it has a part in.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexa_types::Cidr;

use super::intern::Classes;
use super::{ClassId, Grant};

/// Prefixes with their classes.
#[derive(Clone, Debug, Default)]
pub struct Set {
    words: BTreeMap<Cidr, Word>,
}

/// What is said of a prefix itself, and what that comes to with what is said of those around it.
#[derive(Clone, Debug, Default)]
struct Word {
    /// Sorted and without repetition.
    grants: Vec<Grant>,
    /// How many grants of the set overlap this prefix, if it is an excluded one: it matters only where there are some.
    excludes: usize,
    class: ClassId,
}

/// A prefix around the one at hand.
struct Around {
    cidr: Cidr,
    excluded: bool,
    grants: Vec<Grant>,
}

impl Set {
    /// Prefixes with their classes, each before those inside it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Cidr, ClassId)> + '_ {
        self.words.iter().map(|(cidr, word)| (*cidr, word.class))
    }

    /// Prefixes.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Classes of a prefix and of those inside.
    pub(super) fn inside(&self, cidr: Cidr) -> impl Iterator<Item = ClassId> + '_ {
        self.words
            .range(cidr..)
            .take_while(move |(inner, _)| cidr.covers(**inner))
            .map(|(_, word)| word.class)
    }

    /// Adds a grant that is not there. [`Self::settle`] is to follow, with what is noted in `changed`.
    pub(super) fn say(&mut self, (cidr, grant): &(Cidr, Grant), excluded: &[Cidr], changed: &mut Vec<Cidr>) {
        let grants = &mut self.words.entry(*cidr).or_default().grants;
        if let Err(position) = grants.binary_search(grant) {
            grants.insert(position, *grant);
        }
        changed.push(*cidr);
        for wide in excluded.iter().filter(|excluded| excluded.overlaps(*cidr)) {
            self.words.entry(*wide).or_default().excludes += 1;
            changed.push(*wide);
        }
    }

    /// Takes a grant away that is there. [`Self::settle`] is to follow, with what is noted in `changed`.
    pub(super) fn unsay(
        &mut self,
        (cidr, grant): &(Cidr, Grant),
        excluded: &[Cidr],
        changed: &mut Vec<Cidr>,
    ) {
        if let Some(word) = self.words.get_mut(cidr)
            && let Ok(position) = word.grants.binary_search(grant)
        {
            word.grants.remove(position);
        }
        changed.push(*cidr);
        for wide in excluded.iter().filter(|excluded| excluded.overlaps(*cidr)) {
            if let Some(word) = self.words.get_mut(wide) {
                word.excludes -= 1;
            }
            changed.push(*wide);
        }
    }

    /// Gives the prefixes in `changed`, and those inside them, the classes that they have now.
    pub(super) fn settle(
        &mut self,
        mut changed: Vec<Cidr>,
        classes: &mut Classes,
        touched: &mut BTreeSet<ClassId>,
    ) {
        changed.sort_unstable();
        changed.dedup();
        for cidr in &changed {
            if let Some(word) = self.words.get(cidr)
                && word.grants.is_empty()
                && word.excludes == 0
            {
                classes.release(word.class, touched);
                self.words.remove(cidr);
            }
        }
        let mut outermost: Option<Cidr> = None;
        for cidr in changed {
            if outermost.is_none_or(|outer| !outer.covers(cidr)) {
                self.settle_inside(cidr, classes, touched);
                outermost = Some(cidr);
            }
        }
    }

    fn settle_inside(&mut self, outer: Cidr, classes: &mut Classes, touched: &mut BTreeSet<ClassId>) {
        let mut around = self.around(outer);
        for (cidr, word) in self.words.range_mut(outer..).take_while(|(cidr, _)| outer.covers(**cidr)) {
            while around.last().is_some_and(|wider| !wider.cidr.covers(*cidr)) {
                around.pop();
            }
            let here = Around::inside(around.last(), *cidr, word);
            let class = classes.acquire(&here.grants, touched);
            classes.release(word.class, touched);
            word.class = class;
            around.push(here);
        }
    }

    /// The prefixes around one, widest first. The one before it in order is either around it, or has the next candidate as
    /// the widest that could be around both.
    fn around(&self, inner: Cidr) -> Vec<Around> {
        let mut cidrs = Vec::new();
        let mut before = self.words.range(..inner).next_back();
        while let Some((cidr, _)) = before {
            before = if cidr.covers(inner) {
                cidrs.push(*cidr);
                self.words.range(..*cidr).next_back()
            } else if let Some(both) = around_both(*cidr, inner) {
                self.words.range(..=both).next_back()
            } else {
                None
            };
        }
        let mut around: Vec<Around> = Vec::with_capacity(cidrs.len() + 1);
        for cidr in cidrs.iter().rev() {
            around.push(Around::inside(around.last(), *cidr, &self.words[cidr]));
        }
        around
    }
}

impl Around {
    fn inside(outer: Option<&Self>, cidr: Cidr, word: &Word) -> Self {
        let excluded = word.excludes > 0 || outer.is_some_and(|outer| outer.excluded);
        let mut grants = word.grants.clone();
        if let Some(outer) = outer {
            grants.extend_from_slice(&outer.grants);
            grants.sort_unstable();
            grants.dedup();
        }
        if excluded {
            grants.retain(|grant| grant.named);
        }
        Self { cidr, excluded, grants }
    }
}

/// The longest prefix that covers both; none of two families.
fn around_both(one: Cidr, other: Cidr) -> Option<Cidr> {
    let net = match (one.net(), other.net()) {
        (IpNet::V4(one), IpNet::V4(other)) => {
            let same_bits = (one.addr().to_bits() ^ other.addr().to_bits()).leading_zeros() as u8;
            let length = same_bits.min(one.prefix_len()).min(other.prefix_len());
            IpNet::V4(Ipv4Net::new(one.addr(), length).ok()?)
        }
        (IpNet::V6(one), IpNet::V6(other)) => {
            let same_bits = (one.addr().to_bits() ^ other.addr().to_bits()).leading_zeros() as u8;
            let length = same_bits.min(one.prefix_len()).min(other.prefix_len());
            IpNet::V6(Ipv6Net::new(one.addr(), length).ok()?)
        }
        _ => return None,
    };
    Cidr::new(net.trunc()).ok()
}
