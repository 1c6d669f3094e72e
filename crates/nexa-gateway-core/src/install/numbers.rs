//! Numbers for contents.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Numbers of sets or of classes. One is never given twice, so that an entry being deleted is never one being used.
#[derive(Clone, Debug)]
pub struct Numbers<T> {
    /// By the compiler's number; 0 where the content is empty.
    numbers: Vec<u32>,
    by_content: HashMap<Content<T>, u32>,
    given: HashMap<u32, Given<T>>,
    last: u32,
    /// Of all contents together.
    entries: usize,
}

#[derive(Clone, Debug)]
struct Given<T> {
    content: Content<T>,
    /// Of the compiler's numbers, how many have this.
    users: usize,
}

/// Entries, hashed once.
#[derive(Debug)]
struct Content<T> {
    hash: u64,
    entries: Arc<[T]>,
}

/// A content and its number.
pub type Numbered<T> = (Arc<[T]>, u32);

/// What a change makes of contents.
#[derive(Debug)]
pub struct Renumbered<T> {
    /// What is new.
    pub added: Vec<Numbered<T>>,
    /// What nobody has any more.
    pub gone: Vec<Numbered<T>>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: Vec::new(), by_content: HashMap::new(), given: HashMap::new(), last: 0, entries: 0 }
    }
}

impl<T: Eq + Hash> Numbers<T> {
    /// Numbers above `last` only.
    pub fn above(last: u32) -> Self {
        Self { last, ..Self::default() }
    }

    /// The number of what the compiler knows under `id`; 0 where nothing is in it.
    pub fn of(&self, id: u32) -> u32 {
        self.numbers.get(id as usize).copied().unwrap_or(0)
    }

    /// The compiler's numbers have other contents now.
    pub fn change(&mut self, contents: impl Iterator<Item = (u32, Arc<[T]>)>) -> Renumbered<T> {
        let mut added = Vec::new();
        let mut left = Vec::new();
        for (id, entries) in contents {
            let number = self.acquire(entries, &mut added);
            let position = id as usize;
            if position >= self.numbers.len() {
                self.numbers.resize(position + 1, 0);
            }
            left.push(std::mem::replace(&mut self.numbers[position], number));
        }
        // Only now, so that what one leaves another may take over.
        let gone = left.into_iter().filter_map(|number| self.release(number)).collect();
        Renumbered { added, gone }
    }

    /// These are all there are.
    pub fn replace(&mut self, contents: impl Iterator<Item = (u32, Arc<[T]>)>) -> Renumbered<T> {
        let left = std::mem::take(&mut self.numbers);
        let mut renumbered = self.change(contents);
        renumbered.gone.extend(left.into_iter().filter_map(|number| self.release(number)));
        renumbered
    }

    /// Somebody who is none of the compiler's has other content now than that of the number he `had`; returns his new one.
    pub fn exchange(&mut self, had: u32, entries: Arc<[T]>) -> (u32, Renumbered<T>) {
        let mut added = Vec::new();
        let number = self.acquire(entries, &mut added);
        (number, Renumbered { added, gone: self.release(had).into_iter().collect() })
    }

    /// Of some contents, lets nobody who comes have the number that they have.
    pub fn forget(&mut self, which: impl Fn(&[T]) -> bool) {
        self.by_content.retain(|content, _| !which(&content.entries));
    }

    /// Entries of all contents together.
    pub const fn entries(&self) -> usize {
        self.entries
    }

    /// Contents with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&[T], u32)> + '_ {
        self.given.iter().map(|(number, given)| (&*given.content.entries, *number))
    }

    fn acquire(&mut self, entries: Arc<[T]>, added: &mut Vec<Numbered<T>>) -> u32 {
        if entries.is_empty() {
            return 0;
        }
        let content = Content::new(entries);
        if let Some(number) = self.by_content.get(&content) {
            if let Some(given) = self.given.get_mut(number) {
                given.users += 1;
            }
            return *number;
        }
        self.last += 1;
        self.entries += content.entries.len();
        added.push((Arc::clone(&content.entries), self.last));
        self.given.insert(self.last, Given { content: content.clone(), users: 1 });
        self.by_content.insert(content, self.last);
        self.last
    }

    fn release(&mut self, number: u32) -> Option<Numbered<T>> {
        let given = self.given.get_mut(&number)?;
        given.users -= 1;
        if given.users > 0 {
            return None;
        }
        let Given { content, .. } = self.given.remove(&number)?;
        self.entries -= content.entries.len();
        // What was forgotten may be there again, under another number.
        if self.by_content.get(&content) == Some(&number) {
            self.by_content.remove(&content);
        }
        Some((content.entries, number))
    }
}

impl<T: Hash> Content<T> {
    fn new(entries: Arc<[T]>) -> Self {
        let mut hasher = DefaultHasher::new();
        entries.hash(&mut hasher);
        Self { hash: hasher.finish(), entries }
    }
}

impl<T> Clone for Content<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, entries: Arc::clone(&self.entries) }
    }
}

impl<T: PartialEq> PartialEq for Content<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.entries, &other.entries) || self.entries == other.entries)
    }
}

impl<T: Eq> Eq for Content<T> {}

impl<T> Hash for Content<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(renumbered: &Renumbered<u8>) -> [Vec<u32>; 2] {
        [&renumbered.added, &renumbered.gone].map(|list| {
            let mut numbers: Vec<u32> = list.iter().map(|(_, number)| *number).collect();
            numbers.sort_unstable();
            numbers
        })
    }

    fn content(id: u32, bytes: &[u8]) -> (u32, Arc<[u8]>) {
        (id, bytes.into())
    }

    #[test]
    fn a_content_keeps_its_number_while_anybody_has_it_and_no_number_comes_back() {
        let mut given = Numbers::above(7);
        let first =
            given.change([content(0, b"a"), content(1, b"b"), content(2, b"a"), content(3, b"")].into_iter());
        assert_eq!(numbers(&first), [vec![8, 9], vec![]]);
        assert_eq!([0, 1, 2, 3, 4].map(|id| given.of(id)), [8, 9, 8, 0, 0]);
        // Two exchange what they have, and one of two lets go.
        let second = given.change([content(0, b"b"), content(1, b"c")].into_iter());
        assert_eq!(numbers(&second), [vec![10], vec![]]);
        let third = given.change([content(2, b"")].into_iter());
        assert_eq!(numbers(&third), [vec![], vec![8]]);
        let fourth = given.replace([content(5, b"a"), content(6, b"c")].into_iter());
        assert_eq!(numbers(&fourth), [vec![11], vec![9]]);
        assert_eq!(given.iter().count(), 2);
    }

    #[test]
    fn a_forgotten_content_gets_another_number_and_its_old_one_goes() {
        let mut given = Numbers::default();
        given.change([content(0, b"timed"), content(1, b"always")].into_iter());
        given.forget(|entries| entries == b"timed");
        let again = given.replace([content(0, b"timed"), content(1, b"always")].into_iter());
        assert_eq!(numbers(&again), [vec![3], vec![1]]);
        assert!(
            numbers(&given.replace([content(0, b"timed"), content(1, b"always")].into_iter()))
                .concat()
                .is_empty()
        );
    }
}
