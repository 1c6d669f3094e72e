//! Copies in place of sealing and opening, for benches. Nothing is secret and nothing authentic.

use boringtun::noise::Tunn;

use crate::packet;
use crate::peer::Output;

/// Type, receiver index and counter.
const HEADER: usize = 16;
const TAG: usize = 16;
/// A counter that no session reaches marks a copy.
const COPIED: [u8; 8] = [0xff; 8];
/// So many packets are copied between two that are sealed, which tell the receiver's index and run boringtun's timers.
const BETWEEN: u32 = 1024;

/// Of one peer.
pub(crate) struct Cipher {
    /// Type and receiver index of what was sealed last.
    header: [u8; 8],
    left: u32,
}

impl Cipher {
    pub(crate) const fn new() -> Self {
        Self { header: [0; 8], left: 0 }
    }

    pub(crate) fn seal(&mut self, tunn: &mut Tunn, packet: &[u8], out: &mut [u8]) -> Output {
        if self.left == 0 {
            let output = Output::from(tunn.encapsulate(packet, out));
            if matches!(output, Output::Network(_)) && packet::is_data(out) {
                self.header.copy_from_slice(&out[..8]);
                self.left = BETWEEN;
            }
            return output;
        }
        self.left -= 1;
        let length = HEADER + packet.len() + TAG;
        out[..8].copy_from_slice(&self.header);
        out[8..HEADER].copy_from_slice(&COPIED);
        out[HEADER..HEADER + packet.len()].copy_from_slice(packet);
        out[HEADER + packet.len()..length].fill(0);
        Output::Network(length)
    }

    #[expect(clippy::unused_self, reason = "as the one in whose place it is")]
    pub(crate) fn open(&mut self, tunn: &mut Tunn, message: &[u8], out: &mut [u8]) -> Output {
        if message[8..HEADER] != COPIED {
            return tunn.decapsulate(None, message, out).into();
        }
        let padded = &message[HEADER..message.len() - TAG];
        out[..padded.len()].copy_from_slice(padded);
        let length = match padded.first().map(|first| first >> 4) {
            Some(4) if padded.len() >= 20 => usize::from(u16::from_be_bytes([padded[2], padded[3]])),
            Some(6) if padded.len() >= 40 => 40 + usize::from(u16::from_be_bytes([padded[4], padded[5]])),
            _ => return Output::Nothing,
        };
        Output::Device(length.min(padded.len()))
    }
}
