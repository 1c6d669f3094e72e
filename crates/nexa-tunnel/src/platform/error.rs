use std::io;

/// Why a TUN device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// Not an interface name.
    #[error("`{0}` is not an interface name; use 1 to 15 letters, digits, `-`, `_` or `.`")]
    Name(String),
    /// Below what IPv6 needs.
    #[error("an MTU of {0} is too small for IPv6; use 1280 or more (1420 is usual)")]
    Mtu(u16),
    /// The kernel has no TUN driver, or the container does not show it.
    #[error("/dev/net/tun is missing; load the driver (`modprobe tun`) or give the container the device")]
    NoDriver,
    /// The process may not make or open the device.
    #[error(
        "not permitted to open {name}; run with the capability CAP_NET_ADMIN, in the user namespace that owns the network"
    )]
    NotPermitted {
        /// The interface.
        name: String,
    },
    /// Another process has it open.
    #[error("{name} is held by another process; stop that one first (`fuser -v /dev/net/tun` shows it)")]
    Busy {
        /// The interface.
        name: String,
    },
    /// The name belongs to something else.
    #[error(
        "{name} exists and is not a TUN device with one queue; choose another name or remove it (`ip link del {name}`)"
    )]
    OtherKind {
        /// The interface.
        name: String,
    },
    /// Anything else the kernel said.
    #[error("{name}: {step} failed: {source}")]
    System {
        /// The interface.
        name: String,
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}
