//! Two sorted lists, side by side.

use std::cmp::Ordering;

/// Hands out what two lists, each sorted by key, have under the same key, or one of them alone, in order.
pub fn side_by_side<K: Ord, A, B>(
    one: impl Iterator<Item = (K, A)>,
    other: impl Iterator<Item = (K, B)>,
    mut each: impl FnMut(K, Option<A>, Option<B>),
) {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    loop {
        let order = match (one.peek(), other.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let one = if order.is_le() { one.next() } else { None };
        let other = if order.is_ge() { other.next() } else { None };
        match (one, other) {
            (Some((key, one)), Some((_, other))) => each(key, Some(one), Some(other)),
            (Some((key, one)), None) => each(key, Some(one), None),
            (None, Some((key, other))) => each(key, None, Some(other)),
            (None, None) => return,
        }
    }
}
