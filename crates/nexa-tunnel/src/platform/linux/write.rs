use std::io::{self, IoSlice};

use super::tun::Tun;
use crate::offload::HEADER;
use crate::offload::join::{Joined, MOST_PIECES, Takes};

/// As much as stays in a core's cache between the cipher and the kernel.
const ARENA_BYTES: usize = 512 << 10;
/// Free space that [`WriteBatch::space`] promises: any packet with its tag.
const SPACE_BYTES: usize = 1 << 16;
const PLAIN_HEADER: [u8; HEADER] = [0; HEADER];

/// Packets that wait to be written to the device together. Each is decrypted right into its place here.
pub(crate) struct WriteBatch {
    arena: Box<[u8]>,
    used: usize,
    joined: Joined,
    refused: u64,
}

impl WriteBatch {
    pub(crate) fn new(tun: &Tun) -> Self {
        Self {
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            used: 0,
            joined: Joined::new(Takes { streams: true, datagrams: tun.takes_datagrams() }),
            refused: 0,
        }
    }

    /// Where the next packet is to be written; writes what waits when there is no room for one more.
    pub(crate) fn space(&mut self, tun: &Tun) -> &mut [u8] {
        if ARENA_BYTES - self.used < SPACE_BYTES {
            self.flush(tun);
        }
        &mut self.arena[self.used..]
    }

    /// Queues the packet whose `length` bytes were written at the start of the space.
    pub(crate) fn commit(&mut self, length: usize) {
        self.joined.push(&self.arena, self.used, length);
        self.used += length;
    }

    /// Packets that the device did not take.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Writes everything that waits.
    pub(crate) fn flush(&mut self, tun: &Tun) {
        for at in 0..self.joined.frames() {
            let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
            let count = self.joined.write(at, &self.arena, &mut pieces);
            if let Err(error) = tun.send(&pieces[..count]) {
                self.refused_by(at, &error, tun);
            }
        }
        self.joined.clear();
        self.used = 0;
    }

    /// A kernel that does not know the frame says so; then its packets are written as they came.
    fn refused_by(&mut self, at: usize, error: &io::Error, tun: &Tun) {
        let refused = (error.raw_os_error() == Some(libc::EINVAL)).then(|| self.joined.refuse(at)).flatten();
        if let Some(what) = refused {
            tracing::warn!("the TUN device does not take {what} joined; writing one by one from now on");
        }
        for packet in self.joined.packets(at, &self.arena) {
            let written =
                refused.is_some() && tun.send(&[IoSlice::new(&PLAIN_HEADER), IoSlice::new(packet)]).is_ok();
            self.refused += u64::from(!written);
        }
    }
}
