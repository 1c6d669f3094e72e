//! Destinations that no resource covers, whatever it says.

use super::Tables;
use crate::layout::{DestKey, EMPTY_SET, FlowKey};
use crate::reason::Reason;

/// Why no rule speaks of a packet. What is allowed is not asked about, and pays nothing for it.
// On its own: the word of policy is known by then, and its frame on the stack is free again.
#[inline(never)]
pub(super) fn silence<T: Tables>(tables: &T, tuple: &FlowKey) -> Reason {
    let set = tables.excluded();
    if set != EMPTY_SET && tables.class(&DestKey::new(set, tuple.family(), tuple.destination)).is_some() {
        Reason::Excluded
    } else {
        Reason::NoRule
    }
}
