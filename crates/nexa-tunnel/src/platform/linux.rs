mod address;
mod poll;
mod recv;
mod send;
mod tun;
mod udp;
mod write;

pub(crate) use poll::{Poll, Wakeup};
pub(crate) use recv::RecvRing;
pub(crate) use send::SendBatch;
pub use tun::Tun;
pub(crate) use tun::index_of;
pub(crate) use udp::UdpSocket;
pub(crate) use write::WriteBatch;

use std::io;

/// Turns the -1 of a system call into the error it stands for.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// [`check`] for calls that return a length.
fn check_length(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Whether a device fails because its interface was deleted.
pub(crate) fn is_deleted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADFD)
}
