//! Which drops and new flows are told of: of each peer a few a second, so that none drowns what others have to say.

use super::{Limit, Tables};
use crate::layout::FLOW_BEGAN;

/// A burst tells a person what is wrong; a rate beyond what a person reads helps nobody.
const DROPS: Limit = Limit::new(10, 20);
const FLOWS: Limit = Limit::new(10, 20);

/// Whether to tell of `what` happened to a packet of `peer`: how many events of the peer were not told since the last
/// that was, or nothing where this one is not told either.
#[inline(never)]
pub fn tell<T: Tables>(tables: &T, peer: u32, what: u32, now_ns: u64) -> Option<u32> {
    tables.usage(peer, |usage| {
        let told = if what == FLOW_BEGAN {
            FLOWS.take(&mut usage.flow_events_ns, now_ns)
        } else {
            DROPS.take(&mut usage.drop_events_ns, now_ns)
        };
        if !told {
            usage.untold = usage.untold.saturating_add(1);
            return None;
        }
        let untold = usage.untold;
        usage.untold = 0;
        Some(untold)
    })?
}
