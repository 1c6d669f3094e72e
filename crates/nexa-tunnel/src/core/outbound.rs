use super::Core;
use crate::drops::DropReason;
use crate::packet;
use crate::peer::Output;

impl Core {
    /// Takes one IP packet from the device: the first `length` bytes of `buffer`, which has room for padding behind.
    pub(crate) fn packet(&mut self, buffer: &mut [u8], length: usize) {
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
        let output = Output::from(peer.tunn.encapsulate(&buffer[..padded], space));
        // Anything but a data message means that the packet waits for a session.
        peer.queued |= !(matches!(output, Output::Network(_)) && packet::is_data(space));
        self.send(slot, &output, None);
        Ok(())
    }
}
