//! The kernel's announcements of changes in the nft ruleset.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use tokio::io::unix::AsyncFd;

/// `NFNLGRP_NFTABLES` of the kernel's `uapi/linux/netfilter/nfnetlink.h`, as a bit of the groups in an address.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);

/// A subscription to changes of the ruleset, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct RulesetEvents {
    socket: AsyncFd<OwnedFd>,
}

impl RulesetEvents {
    /// Subscribes. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no nftables.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket =
            socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, NFTABLES_GROUP))?;
        // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped, which only the `AsyncFd` does.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Self { socket: registered.map_err(|error| error.into_parts().1)? })
    }

    /// Waits for a change. Lost announcements count as one; our own changes are announced too.
    pub async fn changed(&mut self) {
        // AsyncFd fails only while the runtime shuts down.
        let Ok(mut ready) = self.socket.readable().await else { return std::future::pending().await };
        // A change is a burst of announcements, whose content is of no interest: the caller looks at the table.
        let mut buffer = [0; 4096];
        let mut receive = || socket::recv(ready.get_inner().as_raw_fd(), &mut buffer, MsgFlags::empty());
        // ENOBUFS says that announcements were lost; those that fit are still to be read.
        while matches!(receive(), Err(Errno::ENOBUFS) | Ok(1..)) {}
        ready.clear_ready();
    }
}
