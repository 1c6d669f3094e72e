use super::{Core, MAX_PACKET};
use crate::drops::DropReason;
use crate::offload::{self, BadFrame, Cut, Frame, HEADER};
use crate::packet;
use crate::peer::Output;

impl Core {
    /// Takes one frame from the device: the first `length` bytes of `buffer`, which has room for padding behind.
    pub(crate) fn frame(&mut self, buffer: &mut [u8], length: usize) {
        match offload::open(&mut buffer[..length]) {
            Ok(Frame::Whole) => self.packet(&mut buffer[HEADER..], length - HEADER),
            Ok(Frame::Cut(cut)) => self.cut(&cut, &buffer[HEADER..length]),
            Err(BadFrame) => self.drops.add(DropReason::BadFrame, 1),
        }
    }

    fn cut(&mut self, cut: &Cut, packet: &[u8]) {
        let mut segment = std::mem::take(&mut self.segment);
        for n in 0..cut.count(packet) {
            match cut.write(packet, n, &mut segment[..MAX_PACKET]) {
                Ok(length) => self.packet(&mut segment, length),
                Err(BadFrame) => self.drops.add(DropReason::BadFrame, 1),
            }
        }
        self.segment = segment;
    }

    /// Takes one packet: the first `length` bytes of `buffer`, which has room for padding behind.
    fn packet(&mut self, buffer: &mut [u8], length: usize) {
        if let Err(reason) = self.seal(buffer, length) {
            self.drops.add(reason, 1);
            tracing::trace!(reason = reason.name(), "packet dropped");
        }
    }

    fn seal(&mut self, buffer: &mut [u8], length: usize) -> Result<(), DropReason> {
        let address = packet::destination(&buffer[..length]).ok_or(DropReason::NoPeer)?;
        let slot = self.peers.by_address(address).ok_or(DropReason::NoPeer)?;
        self.wake(slot);
        let padded = packet::padded(length, self.tun.mtu());
        buffer[length..padded].fill(0);
        let space = self.batch.space(&self.socket);
        let peer = self.peers.get_mut(slot).ok_or(DropReason::NoPeer)?;
        if peer.endpoint.is_none() {
            return Err(DropReason::NoEndpoint);
        }
        let output = peer.seal(&buffer[..padded], space);
        // Anything but a data message means that the packet waits for a session.
        peer.queued |= !(matches!(output, Output::Network(_)) && packet::is_data(space));
        self.send(slot, &output, None);
        Ok(())
    }
}
