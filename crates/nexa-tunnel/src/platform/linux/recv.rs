use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::address::{Control, Name, read_control};
use super::check;
use super::udp::UdpSocket;
use crate::peer::Endpoint;

/// Messages per system call. Each may hold many datagrams that the kernel has joined.
const MESSAGES: usize = 16;
const MESSAGE_BYTES: usize = 65_536;

/// Buffers that datagrams are received into, over and over.
pub(crate) struct RecvRing {
    bytes: Box<[u8]>,
    names: Box<[Name; MESSAGES]>,
    controls: Box<[Control; MESSAGES]>,
    /// What the last call received, one entry per message.
    received: Vec<Message>,
}

struct Message {
    start: usize,
    length: usize,
    /// The length of each datagram in it but the last.
    segment: usize,
    from: Endpoint,
}

impl RecvRing {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; MESSAGES * MESSAGE_BYTES].into_boxed_slice(),
            names: Box::new([Name::empty(); MESSAGES]),
            controls: Box::new([[0; 10]; MESSAGES]),
            received: Vec::with_capacity(MESSAGES),
        }
    }

    /// Receives what is there, up to a batch. Returns whether there may be more.
    pub(crate) fn recv(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.received.clear();
        // SAFETY: iovec and mmsghdr are plain data, for which all zero is a value.
        let mut vectors: [libc::iovec; MESSAGES] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; MESSAGES] = unsafe { std::mem::zeroed() };
        for (i, (message, vector)) in messages.iter_mut().zip(&mut vectors).enumerate() {
            vector.iov_base = self.bytes[i * MESSAGE_BYTES..].as_mut_ptr().cast();
            vector.iov_len = MESSAGE_BYTES;
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut self.names[i]).cast();
            message.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            message.msg_hdr.msg_control = (&raw mut self.controls[i]).cast();
            message.msg_hdr.msg_controllen = size_of::<Control>();
        }
        // SAFETY: every pointer set above stays valid and unshared until the call returns.
        let result = unsafe {
            let fd = socket.as_fd().as_raw_fd();
            libc::recvmmsg(
                fd,
                messages.as_mut_ptr(),
                MESSAGES as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = match check(result) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // An ICMP error about an earlier datagram, or a signal: the next call goes on.
            Err(error) if recoverable(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        for (i, message) in messages[..count].iter().enumerate() {
            // SAFETY: the message is as recvmmsg has left it.
            let control = unsafe { read_control(&message.msg_hdr) };
            let Some(remote) = self.names[i].decode() else { continue };
            self.received.push(Message {
                start: i * MESSAGE_BYTES,
                length: (message.msg_len as usize).min(MESSAGE_BYTES),
                segment: control.segment.unwrap_or(MESSAGE_BYTES),
                from: Endpoint { remote, local: control.local },
            });
        }
        Ok(count == MESSAGES)
    }

    /// The datagrams of the last call, in order.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], &Endpoint)> {
        self.received.iter().flat_map(|message| {
            let bytes = &self.bytes[message.start..][..message.length];
            bytes.chunks(message.segment).map(|datagram| (datagram, &message.from))
        })
    }
}

fn recoverable(error: &io::Error) -> bool {
    let network = [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EMSGSIZE,
        libc::ENOMEM,
        libc::EINTR,
    ];
    error.raw_os_error().is_some_and(|errno| network.contains(&errno))
}
