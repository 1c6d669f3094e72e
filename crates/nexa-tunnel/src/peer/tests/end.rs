use std::time::Instant;

use boringtun::noise::TunnResult;

use crate::packet::{self, Handshake, Message};
use crate::peer::{Output, OwnKeys, Peer};
use crate::{PeerConfig, PrivateKey};

/// An IPv4 packet without anything inside.
const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

/// Who decides which handshake messages boringtun sees.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guard {
    /// As the engine does it.
    Ours,
    /// Nobody.
    None(Alone),
}

/// boringtun alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone;

/// Which sessions an end remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// The last eight.
    OfBoringtun,
    /// The previous, the current, and one that is not confirmed (Linux drivers/net/wireguard/noise.c; wireguard-go).
    OfKernel,
}

/// One end: a peer as the engine has it, for the other end.
pub(super) struct End {
    peer: Peer,
    guard: Guard,
    memory: Memory,
    /// Receiver indexes: previous, current, next.
    remembered: [Option<u32>; 3],
    /// Packets that arrived.
    pub(super) heard: usize,
}

/// Two ends that know each other.
pub(super) fn pair(guard: Guard, memory: Memory) -> (End, End) {
    crate::by_hand::advance(std::time::Duration::from_secs(1));
    let (a, b) = (PrivateKey::from_bytes([0x40; 32]), PrivateKey::from_bytes([0x50; 32]));
    let end = |own: &PrivateKey, other: &PrivateKey, index, guard, memory| {
        let config = PeerConfig {
            public_key: other.public_key(),
            allowed_ips: Vec::new(),
            endpoint: None,
            preshared_key: None,
            persistent_keepalive: None,
        };
        let peer = Peer::new(&OwnKeys::new(own.clone()), index, &config, Instant::now());
        End { peer, guard, memory, remembered: [None; 3], heard: 0 }
    };
    // One end is the engine's; the other is whoever it is.
    (end(&a, &b, 1, guard, Memory::OfBoringtun), end(&b, &a, 2, guard, memory))
}

impl End {
    /// Begins a handshake, whether or not one is under way.
    pub(super) fn ask(&mut self) -> Vec<u8> {
        let mut buffer = [0; 256];
        let output = Output::from(self.peer.tunn.format_handshake_initiation(&mut buffer, true));
        self.made(&output, &buffer).expect("an initiation")
    }

    /// Sends one packet, or an initiation when there is no session.
    pub(super) fn send(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 256];
        let output = Output::from(self.peer.tunn.encapsulate(&PACKET, &mut buffer));
        self.made(&output, &buffer).into_iter().collect()
    }

    /// Lets timers run.
    pub(super) fn tick(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 256];
        let output = self.peer.run_timers(Instant::now(), &mut buffer);
        self.made(&output, &buffer).into_iter().collect()
    }

    /// Takes a message as the engine does; what it makes it send.
    pub(super) fn receive(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let message = Message::parse(datagram).expect("a message");
        let guarded = matches!(self.guard, Guard::Ours);
        let mut buffer = [0; 256];
        match message {
            Message::Initiation if guarded => self.peer.keep_session(&mut buffer),
            Message::Response { receiver } if guarded && !self.peer.awaits(receiver) => return Vec::new(),
            Message::Data { receiver } if !self.remembers(receiver) => return Vec::new(),
            _ => {}
        }
        let output = Output::from(self.peer.tunn.decapsulate(None, datagram, &mut buffer));
        let mut sent: Vec<_> = self.made(&output, &buffer).into_iter().collect();
        match (message, &output) {
            (_, Output::Failed(_)) => {}
            (Message::Initiation, _) => {
                self.peer.unconfirmed = packet::sender_index(&buffer);
                self.remembered[2] = self.peer.unconfirmed;
            }
            (Message::Response { receiver }, _) => {
                self.peer.confirm(receiver);
                let [_, current, next] = self.remembered;
                self.remembered = [next.or(current), Some(receiver), None];
            }
            (Message::Data { receiver }, _) => {
                self.heard += usize::from(matches!(output, Output::Device(_)));
                if self.peer.unconfirmed == Some(receiver) {
                    self.peer.unconfirmed = None;
                    self.peer.confirm(receiver);
                }
                if self.remembered[2] == Some(receiver) {
                    self.remembered = [self.remembered[1], Some(receiver), None];
                }
            }
            (Message::Cookie { .. }, _) => {}
        }
        while let TunnResult::WriteToNetwork(queued) = self.peer.tunn.decapsulate(None, &[], &mut buffer) {
            let is_data = packet::is_data(queued);
            sent.push(queued.to_vec());
            if !is_data {
                self.peer.note_handshake(packet::handshake(&sent[sent.len() - 1]));
                break;
            }
        }
        sent
    }

    fn remembers(&self, receiver: u32) -> bool {
        self.memory == Memory::OfBoringtun || self.remembered.contains(&Some(receiver))
    }

    fn made(&mut self, output: &Output, buffer: &[u8]) -> Option<Vec<u8>> {
        let &Output::Network(length) = output else { return None };
        let made: Option<Handshake> = packet::handshake(&buffer[..length]);
        self.peer.note_handshake(made);
        Some(buffer[..length].to_vec())
    }
}
