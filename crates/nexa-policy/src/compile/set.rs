//! Prefixes, each with the class that every prefix around it has a part in.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexa_types::Cidr;

use super::ledger::{Excess, Ledger};
use super::{ClassId, Grant};

/// Prefixes with their classes.
#[derive(Clone, Debug, Default)]
pub struct Set {
    words: BTreeMap<Cidr, Word>,
    /// Prefixes of which something else is said, whose classes may not be right.
    unsettled: Vec<Cidr>,
    /// Whether none of them is.
    is_new: bool,
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

    /// Says all of an empty set at once, without repetition. [`Self::settle`] is to follow.
    pub(super) fn fill(&mut self, mut said: Vec<(Cidr, Grant)>, excluded: &[Cidr]) {
        said.sort_unstable();
        let of_one = said.chunk_by(|(one, _), (next, _)| one == next);
        let word = |said: &[(Cidr, Grant)]| {
            let grants = said.iter().map(|(_, grant)| *grant).collect();
            Some((said.first()?.0, Word { grants, ..Word::default() }))
        };
        self.words = of_one.filter_map(word).collect();
        for wide in excluded {
            let overlapping = self.words.iter().filter(|(cidr, _)| wide.overlaps(**cidr));
            let excludes: usize = overlapping.map(|(_, word)| word.grants.len()).sum();
            if excludes > 0 {
                self.words.entry(*wide).or_default().excludes += excludes;
            }
        }
        self.is_new = true;
    }

    /// Adds a grant that is not there. [`Self::settle`] is to follow.
    pub(super) fn say(&mut self, (cidr, grant): &(Cidr, Grant), excluded: &[Cidr]) {
        let grants = &mut self.words.entry(*cidr).or_default().grants;
        if let Err(position) = grants.binary_search(grant) {
            grants.insert(position, *grant);
        }
        self.unsettled.push(*cidr);
        for wide in excluded.iter().filter(|excluded| excluded.overlaps(*cidr)) {
            self.words.entry(*wide).or_default().excludes += 1;
            self.unsettled.push(*wide);
        }
    }

    /// Takes a grant away that is there. [`Self::settle`] is to follow.
    pub(super) fn unsay(&mut self, (cidr, grant): &(Cidr, Grant), excluded: &[Cidr]) {
        if let Some(word) = self.words.get_mut(cidr)
            && let Ok(position) = word.grants.binary_search(grant)
        {
            word.grants.remove(position);
        }
        self.unsettled.push(*cidr);
        for wide in excluded.iter().filter(|excluded| excluded.overlaps(*cidr)) {
            if let Some(word) = self.words.get_mut(wide) {
                word.excludes -= 1;
            }
            self.unsettled.push(*wide);
        }
    }

    /// Gives all prefixes the classes that they have now.
    ///
    /// # Errors
    /// [`Excess`]; some of them then have others. What is said meanwhile may be taken back, and this be called again.
    pub(super) fn settle(&mut self, ledger: &mut Ledger<'_>) -> Result<(), Excess> {
        self.unsettled.sort_unstable();
        self.unsettled.dedup();
        for cidr in &self.unsettled {
            if let Some(word) = self.words.get_mut(cidr)
                && word.grants.is_empty()
                && word.excludes == 0
            {
                ledger.assign(&mut word.class, &[])?;
                self.words.remove(cidr);
            }
        }
        if self.is_new || self.unsettled.len() >= self.words.len() / 4 {
            sweep(self.words.iter_mut(), &mut Vec::new(), ledger)?;
        } else {
            let mut outermost: Option<Cidr> = None;
            for cidr in self.unsettled.iter().copied() {
                if outermost.is_none_or(|outer| !outer.covers(cidr)) {
                    let mut around = around(&self.words, cidr);
                    let inside = self.words.range_mut(cidr..).take_while(|(inner, _)| cidr.covers(**inner));
                    sweep(inside, &mut around, ledger)?;
                    outermost = Some(cidr);
                }
            }
        }
        self.unsettled = Vec::new();
        self.is_new = false;
        Ok(())
    }

    /// Lets go of all classes.
    pub(super) fn clear(&mut self, ledger: &mut Ledger<'_>) {
        for word in self.words.values_mut() {
            // Less is never too much.
            let _ = ledger.assign(&mut word.class, &[]);
        }
        self.words.clear();
        self.unsettled = Vec::new();
        self.is_new = false;
    }
}

/// Gives prefixes, each before those inside it, their classes. `around` are those around the first, widest first.
fn sweep<'a>(
    words: impl Iterator<Item = (&'a Cidr, &'a mut Word)>,
    around: &mut Vec<Around>,
    ledger: &mut Ledger<'_>,
) -> Result<(), Excess> {
    let mut words = words.peekable();
    while let Some((cidr, word)) = words.next() {
        while around.last().is_some_and(|wider| !wider.cidr.covers(*cidr)) {
            around.pop();
        }
        let here = Around::inside(around.last(), *cidr, word);
        ledger.assign(&mut word.class, &here.grants)?;
        if words.peek().is_some_and(|(next, _)| cidr.covers(**next)) {
            around.push(here);
        }
    }
    Ok(())
}

/// The prefixes around one, widest first. The one before it in order is either around it, or has the next candidate as
/// the widest that could be around both.
fn around(words: &BTreeMap<Cidr, Word>, inner: Cidr) -> Vec<Around> {
    let mut cidrs = Vec::new();
    let mut before = words.range(..inner).next_back();
    while let Some((cidr, _)) = before {
        before = if cidr.covers(inner) {
            cidrs.push(*cidr);
            words.range(..*cidr).next_back()
        } else if let Some(both) = around_both(*cidr, inner) {
            words.range(..=both).next_back()
        } else {
            None
        };
    }
    let mut around: Vec<Around> = Vec::with_capacity(cidrs.len() + 1);
    for cidr in cidrs.iter().rev() {
        around.push(Around::inside(around.last(), *cidr, &words[cidr]));
    }
    around
}

impl Around {
    fn inside(outer: Option<&Self>, cidr: Cidr, word: &Word) -> Self {
        let excluded = word.excludes > 0 || outer.is_some_and(|outer| outer.excluded);
        let mut grants = word.grants.clone();
        if let Some(outer) = outer.filter(|outer| !outer.grants.is_empty()) {
            grants.extend_from_slice(&outer.grants);
            // Two lists in order, which is what a stable sort makes use of.
            grants.sort();
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
