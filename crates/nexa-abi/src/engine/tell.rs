//! Which drops and new flows are told of: of each peer a few a second, so that none drowns what others have to say.

use super::{Limit, Tables};
use crate::layout::{FLOW_BEGAN, Usage};

/// A burst tells a person what is wrong; a rate beyond what a person reads helps nobody.
const DROPS: Limit = Limit::new(10, 20);
const FLOWS: Limit = Limit::new(10, 20);

/// Whether to tell of `what` happened to a packet of `peer`: how many events of the peer and kind were not told since the
/// last that was, or nothing where this one is not told either.
#[inline(never)]
pub fn tell<T: Tables>(tables: &T, peer: u32, what: u32, now_ns: u64) -> Option<u32> {
    tables.usage(peer, |usage| {
        let told = if what == FLOW_BEGAN {
            FLOWS.take(&mut usage.flow_events_ns, now_ns)
        } else {
            DROPS.take(&mut usage.drop_events_ns, now_ns)
        };
        let untold = untold(usage, what);
        if !told {
            *untold = untold.saturating_add(1);
            return None;
        }
        let before = *untold;
        *untold = 0;
        Some(before)
    })?
}

/// Takes back that an event was told, with the `before` that were not: there was no room for it.
#[inline(never)]
pub fn untell<T: Tables>(tables: &T, peer: u32, what: u32, before: u32) {
    tables.usage(peer, |usage| {
        let untold = untold(usage, what);
        *untold = untold.saturating_add(before).saturating_add(1);
    });
}

#[inline(always)]
const fn untold(usage: &mut Usage, what: u32) -> &mut u32 {
    if what == FLOW_BEGAN { &mut usage.untold_flows } else { &mut usage.untold_drops }
}
