//! Everything netlink, and the kernel settings of the network that go with it.

mod events;
mod link;
mod route;
mod rule;
mod sysctl;
mod xdp_features;

pub use events::RulesetEvents;
pub use link::{Link, Net, NetError};
pub use rule::MarkRule;
pub use sysctl::{HostSettings, SysctlError, prepare_interface};
pub use xdp_features::takes_native_xdp;
