use std::time::SystemTime;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Packet, TunnResult};
use nexa_types::PublicKey;

use super::{Core, HANDSHAKES_PER_SECOND};
use crate::drops::DropReason;
use crate::packet::{self, Message};
use crate::peer::{Endpoint, Output};

impl Core {
    /// Takes one datagram from the socket.
    pub(crate) fn datagram(&mut self, datagram: &[u8], from: &Endpoint) {
        let done = match Message::parse(datagram) {
            Some(Message::Data { receiver }) => self.data(datagram, receiver, from),
            Some(message) => self.handshake(datagram, message, from),
            None => Err(DropReason::Malformed),
        };
        if let Err(reason) = done {
            self.drops.add(reason, 1);
            tracing::trace!(reason = reason.name(), "datagram dropped");
        }
    }

    fn data(&mut self, datagram: &[u8], receiver: u32, from: &Endpoint) -> Result<(), DropReason> {
        let slot = self.peers.by_receiver(receiver).ok_or(DropReason::UnknownReceiver)?;
        self.wake(slot);
        let peer = self.peers.get_mut(slot).ok_or(DropReason::UnknownReceiver)?;
        let plain = self.to_device.space(&self.tun);
        let inner = match peer.open(datagram, plain) {
            Output::Device(length) => Some((length, packet::source(&plain[..length]))),
            Output::Nothing => None,
            Output::Network(_) => return Err(DropReason::BadData),
            Output::Failed(error) => return Err(data_error(&error)),
        };
        self.authentic(slot, receiver, from);
        if let Some((length, source)) = inner {
            let source = source.ok_or(DropReason::BadInner)?;
            if self.peers.by_address(source) != Some(slot) {
                return Err(DropReason::WrongSource);
            }
            self.to_device.commit(length);
        }
        self.count_received(slot, datagram.len());
        Ok(())
    }

    /// The first MAC is checked before anything else is computed, then a cookie is demanded under load, and only
    /// who has returned it is held to the share of one source.
    fn verify<'a>(&mut self, datagram: &'a [u8], from: &Endpoint) -> Result<Packet<'a>, DropReason> {
        let mut cookie = [0; 64];
        let source = from.remote.ip();
        let verified = self.limiter.verify_packet(Some(source), datagram, &mut cookie);
        if matches!(verified, Err(TunnResult::Err(_))) {
            return Err(DropReason::BadMac);
        }
        let loaded = self.handshakes >= HANDSHAKES_PER_SECOND;
        self.handshakes += 1;
        match verified {
            Ok(_) if loaded && !self.sources.admit(source, self.now) => Err(DropReason::SourceLimit),
            Ok(verified) => Ok(verified),
            Err(TunnResult::WriteToNetwork(reply)) => {
                let space = self.batch.space(&self.socket);
                space[..reply.len()].copy_from_slice(reply);
                self.batch.commit(reply.len(), from);
                Err(DropReason::CookieSent)
            }
            Err(_) => Err(DropReason::BadMac),
        }
    }

    /// The answer to what we asked last is no load, however many there are: we asked for it.
    fn verify_answer<'a>(&mut self, datagram: &'a [u8], receiver: u32) -> Result<Packet<'a>, DropReason> {
        let slot = self.peers.by_receiver(receiver).ok_or(DropReason::UnknownReceiver)?;
        // An answer to an earlier try would become the session that we send with, while the other side has given it
        // up for a later one (docs/adr/0014).
        if !self.peers.get_mut(slot).is_some_and(|peer| peer.awaits(receiver)) {
            return Err(DropReason::BadHandshake);
        }
        self.unlimited.verify_packet(None, datagram, &mut []).map_err(|_| DropReason::BadMac)
    }

    fn handshake(&mut self, datagram: &[u8], message: Message, from: &Endpoint) -> Result<(), DropReason> {
        let verified = match message {
            Message::Response { receiver } => self.verify_answer(datagram, receiver)?,
            Message::Cookie { .. } => {
                self.unlimited.verify_packet(None, datagram, &mut []).map_err(|_| DropReason::Malformed)?
            }
            _ => self.verify(datagram, from)?,
        };
        let slot = match (&verified, message) {
            (Packet::HandshakeInit(initiation), _) => {
                let half = parse_handshake_anon(&self.private, &self.public, initiation)
                    .map_err(|_| DropReason::BadHandshake)?;
                let key =
                    PublicKey::from_bytes(half.peer_static_public).map_err(|_| DropReason::BadHandshake)?;
                self.peers.by_key(&key).ok_or(DropReason::BadHandshake)?
            }
            (_, Message::Response { receiver } | Message::Cookie { receiver }) => {
                self.peers.by_receiver(receiver).ok_or(DropReason::UnknownReceiver)?
            }
            _ => return Err(DropReason::Malformed),
        };
        self.wake(slot);
        let space = self.batch.space(&self.socket);
        let peer = self.peers.get_mut(slot).ok_or(DropReason::UnknownReceiver)?;
        if message == Message::Initiation {
            peer.keep_session(space);
        }
        let output = Output::from(peer.tunn.decapsulate(None, datagram, space));
        match (message, &output) {
            (_, Output::Failed(_)) => return Err(DropReason::BadHandshake),
            (Message::Initiation, Output::Network(length)) => {
                // The peer stays where it is until it uses the session: an initiation can be a replay.
                peer.unconfirmed = packet::sender_index(&space[..*length]);
                self.send(slot, &output, Some(*from));
            }
            (Message::Response { receiver }, _) => {
                peer.last_handshake = Some(SystemTime::now());
                peer.confirm(receiver);
                self.send(slot, &output, Some(*from));
                self.authentic(slot, receiver, from);
            }
            _ => return Ok(()),
        }
        self.count_received(slot, datagram.len());
        Ok(())
    }

    /// The peer itself has just sent something under the session `receiver`.
    fn authentic(&mut self, slot: usize, receiver: u32, from: &Endpoint) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.active(self.now);
        if peer.endpoint.as_ref() != Some(from) {
            peer.endpoint = Some(*from);
            tracing::debug!(peer = %peer.key, endpoint = %from.remote, "endpoint learnt");
        }
        if peer.unconfirmed == Some(receiver) {
            peer.unconfirmed = None;
            peer.confirm(receiver);
            peer.last_handshake = Some(SystemTime::now());
        }
        if peer.queued {
            self.send_queued(slot);
        }
    }

    fn count_received(&mut self, slot: usize, length: usize) {
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.received_bytes += length as u64;
        }
    }
}

const fn data_error(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => DropReason::Replay,
        WireGuardError::InvalidPacket => DropReason::BadInner,
        _ => DropReason::BadData,
    }
}
