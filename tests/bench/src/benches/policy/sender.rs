//! Frames out of an interface one by one, as a program sends them: slower than [`super::inject`] for many, but a few are
//! sent within microseconds, where to begin and to end live frames takes the kernel tens of milliseconds.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

use super::frame::Frame;

/// A socket that sends whole frames.
pub(super) struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Sends out of an interface of this thread's namespace. It receives nothing.
    pub(super) fn new(interface: &str) -> Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface).context("no interface")?;
        // SAFETY: takes no pointers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(socket >= 0, "no packet socket: {}", io::Error::last_os_error());
        // SAFETY: the call has just made it, and nobody else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zero is a valid value of this struct.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).context("a small number")?;
        address.sll_ifindex = i32::try_from(index).context("a small number")?;
        let bytes = u32::try_from(size_of_val(&address)).context("a small number")?;
        // SAFETY: an address of as many bytes, which lives through the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) };
        ensure!(bound == 0, "cannot send out of {interface}: {}", io::Error::last_os_error());
        Ok(Self { socket })
    }

    /// Sends frames, each of which has mostly been received by the other end when this returns.
    pub(super) fn send(&self, frames: &[Frame]) -> Result<()> {
        for frame in frames {
            // SAFETY: a buffer of as many bytes, which lives through the call.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            ensure!(usize::try_from(sent) == Ok(frame.len()), "not sent: {}", io::Error::last_os_error());
        }
        Ok(())
    }
}
