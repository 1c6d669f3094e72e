use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::check;
use crate::platform::Ready;

/// Waits for the three things a loop waits for, and for time.
pub(crate) struct Poll(OwnedFd);

impl Poll {
    const COMMANDS: u64 = 0;
    const SOCKET: u64 = 1;
    const DEVICE: u64 = 2;

    pub(crate) fn new(commands: &Wakeup, socket: &impl AsFd, device: &impl AsFd) -> io::Result<Self> {
        // SAFETY: the descriptor that comes back is ours alone.
        let poll = unsafe { Self(OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?)) };
        poll.add(&commands.0, Self::COMMANDS)?;
        poll.add(socket, Self::SOCKET)?;
        poll.add(device, Self::DEVICE)?;
        Ok(poll)
    }

    /// Waits for this socket too.
    pub(crate) fn watch_socket(&self, socket: &impl AsFd) -> io::Result<()> {
        self.add(socket, Self::SOCKET)
    }

    fn add(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open and the event is read before the call returns.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })
            .map(|_| ())
    }

    /// Waits until something is ready or `timeout` has passed; errors on a descriptor count as ready.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let millis = timeout.map_or(-1, |timeout| {
            // Rounded up: waking early would spin until the time has come.
            i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 3];
        // SAFETY: the array holds as many events as the call is told.
        let count =
            match check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 3, millis) }) {
                Ok(count) => count as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
        let mut ready = Ready::default();
        for event in &events[..count] {
            match event.u64 {
                Self::COMMANDS => ready.commands = true,
                Self::SOCKET => ready.socket = true,
                _ => ready.device = true,
            }
        }
        Ok(ready)
    }
}

/// Wakes the loop from another thread.
pub(crate) struct Wakeup(OwnedFd);

impl Wakeup {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the descriptor that comes back is ours alone.
        unsafe {
            Ok(Self(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?)))
        }
    }

    pub(crate) fn wake(&self) {
        // Fails only when the counter is full, and then the loop is awake anyway.
        // SAFETY: an eventfd is written with 8 bytes.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const ONE).cast(), 8) };
    }

    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: an eventfd is read into 8 bytes.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

static ONE: u64 = 1;
