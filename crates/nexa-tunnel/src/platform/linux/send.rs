use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::address::{Control, Name, write_control};
use super::udp::UdpSocket;
use super::{check, check_length};
use crate::peer::Endpoint;

/// Runs per system call.
const RUNS: usize = 64;
/// What the kernel takes as one message to be cut (64 segments since 4.18), kept below the largest datagram.
const SEGMENTS: usize = 64;
const RUN_BYTES: usize = 65_000;
const ARENA_BYTES: usize = 512 << 10;
/// Free space that [`SendBatch::space`] promises: any packet with everything that may be put around it.
const SPACE_BYTES: usize = 66_000;
/// Places that are remembered for not taking messages to be cut. When there are more, all are tried again.
const MOST_UNCUT: usize = 4096;
/// How long a full send buffer may hold up the loop before a run is given up.
const FULL_BUFFER_MILLIS: libc::c_int = 10;

/// Datagrams that wait to be sent together. Each is sealed right into its place here; neighbours of one size to
/// one peer become one message that the kernel cuts (UDP GSO).
pub(crate) struct SendBatch {
    arena: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
    controls: Box<[Control; RUNS]>,
    names: Box<[Name; RUNS]>,
    /// The kernel can cut at all.
    cuts: bool,
    /// Where messages whose segments are so long, or longer, are not cut but refused: above the device's MTU a datagram
    /// is to be fragmented, and no device does both. Sent by itself it arrives.
    uncut: HashMap<SocketAddr, usize>,
    refusal_told: bool,
    refused: u64,
}

/// Datagrams to one place: all of `segment` bytes, the last one may be shorter.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    length: usize,
    segment: usize,
    to: Endpoint,
}

impl Run {
    const fn takes(&self, length: usize) -> bool {
        self.length.is_multiple_of(self.segment)
            && length <= self.segment
            && self.length / self.segment < SEGMENTS
            && self.length + length <= RUN_BYTES
    }

    const fn datagrams(&self) -> u64 {
        self.length.div_ceil(self.segment) as u64
    }

    fn cut(&self) -> Option<u16> {
        if self.length > self.segment { u16::try_from(self.segment).ok() } else { None }
    }
}

impl SendBatch {
    pub(crate) fn new(socket: &UdpSocket) -> Self {
        Self {
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            used: 0,
            runs: Vec::with_capacity(RUNS),
            controls: Box::new([[0; 10]; RUNS]),
            names: Box::new([Name::empty(); RUNS]),
            cuts: socket.cuts(),
            uncut: HashMap::new(),
            refusal_told: false,
            refused: 0,
        }
    }

    /// Where the next datagram is to be written; sends what waits when there is no room for one more.
    pub(crate) fn space(&mut self, socket: &UdpSocket) -> &mut [u8] {
        if ARENA_BYTES - self.used < SPACE_BYTES || self.runs.len() == RUNS {
            self.flush(socket);
        }
        &mut self.arena[self.used..]
    }

    /// Queues the datagram whose `length` bytes were written at the start of the space.
    pub(crate) fn commit(&mut self, length: usize, to: &Endpoint) {
        let start = self.used;
        self.used += length;
        match self.runs.last_mut() {
            Some(run)
                if self.cuts
                    && run.to == *to
                    && run.takes(length)
                    && (self.uncut.is_empty() || may_be_cut(&self.uncut, run)) =>
            {
                run.length += length;
            }
            _ => self.runs.push(Run { start, length, segment: length, to: *to }),
        }
    }

    /// Datagrams that the kernel did not take.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Sends everything that waits.
    pub(crate) fn flush(&mut self, socket: &UdpSocket) {
        let mut sent = 0;
        while sent < self.runs.len() {
            match self.send_from(sent, socket) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !socket.wait_writable(FULL_BUFFER_MILLIS) {
                        self.refused += self.runs[sent].datagrams();
                        sent += 1;
                    }
                }
                Err(error) => {
                    self.send_singly(sent, &error, socket);
                    sent += 1;
                }
            }
        }
        self.runs.clear();
        self.used = 0;
    }

    /// Sends the runs from `first` on in one call; returns how many of them went.
    fn send_from(&mut self, first: usize, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain data, for which all zero is a value.
        let mut vectors: [libc::iovec; RUNS] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; RUNS] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for (i, run) in self.runs[first..].iter().take(RUNS).enumerate() {
            let Some((name, name_length)) = Name::encode(run.to.remote, socket.family()) else {
                if i == 0 {
                    return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
                }
                break;
            };
            self.names[i] = name;
            vectors[i].iov_base = self.arena[run.start..].as_mut_ptr().cast();
            vectors[i].iov_len = run.length;
            let message = &mut messages[i].msg_hdr;
            message.msg_iov = &raw mut vectors[i];
            message.msg_iovlen = 1;
            message.msg_name = (&raw mut self.names[i]).cast();
            message.msg_namelen = name_length;
            message.msg_control = (&raw mut self.controls[i]).cast();
            // SAFETY: the control pointer is this message's own buffer.
            unsafe { write_control(message, &run.to, run.cut(), socket.family()) };
            count += 1;
        }
        // SAFETY: every pointer set above stays valid until the call returns.
        let result = unsafe {
            libc::sendmmsg(socket.as_fd().as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        check(result).map(|sent| sent as usize)
    }

    /// Tries everywhere again to send messages that are cut: routes change, and with them what their devices take.
    pub(crate) fn forget_refusals(&mut self) {
        self.uncut.clear();
    }

    /// Sends a run that was refused as a whole datagram by datagram, from any address when the wanted one is gone.
    fn send_singly(&mut self, run: usize, error: &io::Error, socket: &UdpSocket) {
        let run = self.runs[run];
        let mut arrived = false;
        for start in (run.start..run.start + run.length).step_by(run.segment) {
            let end = (start + run.segment).min(run.start + run.length);
            let datagram = &self.arena[start..end];
            let sent = send_one(datagram, &run.to, socket)
                .or_else(|_| send_one(datagram, &Endpoint::new(run.to.remote), socket));
            arrived |= sent.is_ok();
            if let Err(error) = sent {
                self.refused += 1;
                tracing::trace!(%error, to = %run.to.remote, "datagram refused");
            }
        }
        if arrived && run.cut().is_some() {
            self.remember_refusal(&run, error);
        }
    }

    fn remember_refusal(&mut self, run: &Run, error: &io::Error) {
        // Until 6.13 the kernel calls a datagram above the MTU an invalid argument.
        let least = match error.raw_os_error() {
            Some(libc::EMSGSIZE | libc::EINVAL) => run.segment,
            // The device does not compute checksums, or the route leads into IPsec.
            Some(libc::EIO) => 0,
            _ => return,
        };
        if self.uncut.len() >= MOST_UNCUT {
            self.uncut.clear();
        }
        self.uncut.entry(run.to.remote).and_modify(|known| *known = least.min(*known)).or_insert(least);
        tracing::debug!(%error, to = %run.to.remote, bytes = run.segment, "a batch was refused");
        if !std::mem::replace(&mut self.refusal_told, true) {
            tracing::warn!(
                %error,
                bytes = run.segment,
                "the way to a peer takes no batches of such datagrams, which is slower; a lower MTU of the tunnel may help"
            );
        }
    }
}

fn may_be_cut(uncut: &HashMap<SocketAddr, usize>, run: &Run) -> bool {
    uncut.get(&run.to.remote).is_none_or(|least| run.segment < *least)
}

fn send_one(datagram: &[u8], to: &Endpoint, socket: &UdpSocket) -> io::Result<()> {
    let Some((mut name, name_length)) = Name::encode(to.remote, socket.family()) else {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    };
    let mut control: Control = [0; 10];
    let mut vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    // SAFETY: msghdr is plain data, for which all zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = name_length;
    message.msg_control = (&raw mut control).cast();
    // SAFETY: the control pointer is this message's own buffer, and every pointer is valid until the call returns.
    unsafe {
        write_control(&mut message, to, None, socket.family());
        check_length(libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_DONTWAIT))
            .map(|_| ())
    }
}
