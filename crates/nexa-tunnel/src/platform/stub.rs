//! A platform that is not built yet: everything that the crate asks of one, and nothing of it can be had.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use super::{Ready, TunError};
use crate::peer::Endpoint;

/// A TUN device, of which there is none.
#[derive(Debug)]
pub struct Tun(Infallible);

impl Tun {
    /// Refuses.
    ///
    /// # Errors
    /// [`TunError::System`], always.
    pub fn open_persistent(name: &str, mtu: u16) -> Result<Self, TunError> {
        Self::open(name, mtu)
    }

    /// Refuses.
    ///
    /// # Errors
    /// [`TunError::System`], always.
    pub fn open(name: &str, _mtu: u16) -> Result<Self, TunError> {
        Err(TunError::System { name: name.to_owned(), step: "opening a device", source: unsupported() })
    }

    /// The interface's name.
    pub const fn name(&self) -> &str {
        match self.0 {}
    }

    /// The interface's index.
    pub const fn index(&self) -> u32 {
        match self.0 {}
    }

    /// The link's MTU in bytes.
    pub const fn mtu(&self) -> usize {
        match self.0 {}
    }

    pub(crate) const fn follow_mtu(&self) {
        match self.0 {}
    }

    pub(crate) const fn recv(&self, _buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0 {}
    }
}

/// The tunnel's UDP socket.
pub(crate) struct UdpSocket(Infallible);

impl UdpSocket {
    pub(crate) fn bind(_port: u16, _fwmark: Option<u32>) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) const fn set_mark(&self, _mark: u32) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) const fn port(&self) -> u16 {
        match self.0 {}
    }
}

/// Where datagrams are received into.
pub(crate) struct RecvRing;

impl RecvRing {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) const fn recv(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        match socket.0 {}
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], &Endpoint)> {
        std::iter::empty()
    }
}

/// Datagrams that wait to be sent.
pub(crate) struct SendBatch(Infallible);

impl SendBatch {
    pub(crate) const fn new(socket: &UdpSocket) -> Self {
        match socket.0 {}
    }

    pub(crate) const fn space(&mut self, _socket: &UdpSocket) -> &mut [u8] {
        match self.0 {}
    }

    pub(crate) const fn commit(&mut self, _length: usize, _to: &Endpoint) {
        match self.0 {}
    }

    pub(crate) const fn refused(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) const fn flush(&mut self, _socket: &UdpSocket) {
        match self.0 {}
    }

    pub(crate) const fn forget_refusals(&mut self) {
        match self.0 {}
    }
}

/// Packets that wait to be written to the device.
pub(crate) struct WriteBatch(Infallible);

impl WriteBatch {
    pub(crate) const fn new(tun: &Tun) -> Self {
        match tun.0 {}
    }

    pub(crate) const fn space(&mut self, _tun: &Tun) -> &mut [u8] {
        match self.0 {}
    }

    pub(crate) const fn commit(&mut self, _length: usize) {
        match self.0 {}
    }

    pub(crate) const fn refused(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) const fn flush(&mut self, _tun: &Tun) {
        match self.0 {}
    }
}

/// Waits for what a loop waits for.
pub(crate) struct Poll(Infallible);

impl Poll {
    pub(crate) const fn new(commands: &Wakeup, _socket: &UdpSocket, _device: &Tun) -> io::Result<Self> {
        match commands.0 {}
    }

    pub(crate) const fn watch_socket(&self, _socket: &UdpSocket) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) const fn wait(&self, _timeout: Option<Duration>) -> io::Result<Ready> {
        match self.0 {}
    }
}

/// Wakes the loop from another thread.
pub(crate) struct Wakeup(Infallible);

impl Wakeup {
    pub(crate) fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) const fn wake(&self) {
        match self.0 {}
    }

    pub(crate) const fn clear(&self) {
        match self.0 {}
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Wakeup {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self.0 {}
    }
}

/// The number of an interface.
pub(crate) fn index_of(_name: &str) -> io::Result<u32> {
    Err(unsupported())
}

/// Whether a device fails because its interface was deleted.
pub(crate) const fn is_deleted(_error: &io::Error) -> bool {
    false
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the tunnel is not built for this operating system yet")
}
