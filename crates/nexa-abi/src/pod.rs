//! Leave for user space to hand the map types to the kernel as they are.

use crate::layout::{
    DestKey, Event, FlowKey, FlowValue, FragmentKey, FragmentValue, PeerCounters, PeerKey, PeerValue,
    PortsKey, PortsValue, Profile, RuleCounters, State, Usage,
};

macro_rules! pod {
    ($($type:ty),* $(,)?) => {
        // SAFETY: plain integers and byte arrays without padding (their sizes are asserted beside them), valid for
        // every bit pattern.
        $(unsafe impl aya::Pod for $type {})*
    };
}

pod!(
    DestKey,
    Event,
    FlowKey,
    FlowValue,
    FragmentKey,
    FragmentValue,
    PeerCounters,
    PeerKey,
    PeerValue,
    PortsKey,
    PortsValue,
    Profile,
    RuleCounters,
    State,
    Usage
);
pod!(crate::engine::Limit, crate::engine::Recent, crate::xdp_guard::Config, crate::xdp_guard::LocalKey);
