//! The word of policy alone: two sets are asked, whatever was said before.

use core::hint::black_box;

use super::Tables;
use crate::layout::{
    ALLOW, ALLOW_LAPSING, DEFAULT_DENY_SLOT, DENY, DestKey, EMPTY_CLASS, EMPTY_SET, FlowKey, PortsKey,
    PortsValue, Profile, SILENT,
};

/// The word of policy alone, without flows: what [`begin`] and stale flows are decided by.
///
/// Two sets are asked; any deny denies, else any allow admits, and the lowest rule of the deciding effect is named.
/// What no rule speaks of is [`SILENT`], a value like the others and no Option, for the reason given at [`Verdict`].
pub fn decide<T: Tables>(tables: &T, profile: &Profile, tuple: &FlowKey, now_ns: u64) -> PortsValue {
    let shared = lookup(tables, profile.shared, tuple, now_ns);
    let own = lookup(tables, profile.own, tuple, now_ns);
    if own.verdict() == SILENT {
        return shared;
    }
    if shared.verdict() == SILENT {
        return own;
    }
    stronger(shared, own)
}

/// Nothing. Opaque, since of zeros side by side LLVM makes a call, which is one frame too many for the stack of Linux 6.1.
#[inline(always)]
fn nothing_said() -> PortsValue {
    PortsValue::new(SILENT, DEFAULT_DENY_SLOT, black_box(0), 0)
}

fn lookup<T: Tables>(tables: &T, set: u32, tuple: &FlowKey, now_ns: u64) -> PortsValue {
    if set == EMPTY_SET {
        return nothing_said();
    }
    let key = DestKey::new(set, tuple.family(), tuple.destination);
    let Some(class) = tables.class(&key) else { return nothing_said() };
    if class == EMPTY_CLASS {
        return nothing_said();
    }
    let key = PortsKey { class: class.to_be_bytes(), protocol: tuple.protocol, port: tuple.destination_port };
    let Some(value) = tables.ports(&key) else { return nothing_said() };
    if value.not_after_ns <= now_ns {
        // What comes after is for the daemon to say. Until it does, nothing is granted here; and nothing refused
        // where only this grant ends.
        if value.verdict() == ALLOW_LAPSING {
            return nothing_said();
        }
        return PortsValue::new(DENY, value.slot(), value.rule, value.not_after_ns);
    }
    value
}

pub(super) const fn allows(word: &PortsValue) -> bool {
    matches!(word.verdict(), ALLOW | ALLOW_LAPSING)
}

const fn stronger(one: PortsValue, other: PortsValue) -> PortsValue {
    let one_allows = allows(&one);
    let other_allows = allows(&other);
    if one_allows != other_allows {
        return if one_allows { other } else { one };
    }
    if one.rule <= other.rule { one } else { other }
}
