//! Conntrack's table, over netlink.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `struct nlmsghdr` and `struct nfgenmsg`: IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK without a tuple, which is all,
/// to be acknowledged (linux/netfilter/nfnetlink_conntrack.h).
const FLUSH: [u8; 20] = [20, 0, 0, 0, 2, 1, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `NLMSG_ERROR`, which acknowledges when its number is 0.
const ERROR: [u8; 2] = [2, 0];

/// Ends all connections of this thread's namespace.
pub(super) fn flush() -> Result<()> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), SockProtocol::NetlinkNetFilter)
            .context("no netlink")?;
    sendto(socket.as_raw_fd(), &FLUSH, &NetlinkAddr::new(0, 0), MsgFlags::empty()).context("cannot ask")?;
    let mut answer = [0; 64];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("no answer")?;
    ensure!(
        length >= 20 && answer[4..6] == ERROR && answer[16..20] == [0; 4],
        "conntrack's table cannot be flushed: {answer:?}"
    );
    Ok(())
}
