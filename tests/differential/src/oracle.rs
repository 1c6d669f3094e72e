//! What must happen to a packet that a peer sends, said by the specification and by what was said before.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use nexa_abi::reason::Reason;
use nexa_policy::model::Peer;
use nexa_policy::{Decision, Model, Probe, eval};
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

use crate::packets::{Datagram, Nature, Packet, Part};

/// What must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It goes on, by this rule.
    Pass {
        /// Whose packet it is.
        device: DeviceId,
        /// 0 for what is implicit.
        rule: u32,
    },
    /// It ends here.
    Drop {
        /// Whose packet it is, where its headers say so.
        device: Option<DeviceId>,
        /// Why.
        reason: Reason,
        /// 0 where no rule refuses it.
        rule: u32,
    },
}

/// The conversations that peers have begun so far. They outlive policies: each packet asks the policy of its time.
#[derive(Debug, Default)]
pub struct Oracle {
    begun: HashSet<Conversation>,
    /// What the first fragments were that passed.
    admitted: HashMap<(IpAddr, IpAddr, Datagram), Nature>,
}

/// Of IPv6 the sender's number alone says which datagram a fragment is of.
fn datagram_of(packet: &Packet, datagram: Datagram) -> (IpAddr, IpAddr, Datagram) {
    let protocol = if packet.source.is_ipv4() { datagram.protocol } else { 0 };
    (packet.source, packet.destination, Datagram { protocol, ..datagram })
}

/// Who began, and how a packet of his looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Conversation {
    device: DeviceId,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    from_port: u16,
    port: u16,
}

impl Oracle {
    /// A new policy is in force. Conversations of devices that it does not know have ended, also should they return.
    pub fn change(&mut self, snapshot: &Snapshot) {
        self.begun.retain(|begun| snapshot.peers.iter().any(|peer| peer.device == begun.device));
    }

    /// Asks the specification about a packet from a peer.
    pub fn ingress(&mut self, snapshot: &Snapshot, model: &Model, packet: &Packet) -> Expected {
        let refused = |device, reason| Expected::Drop { device, reason, rule: 0 };
        match packet.nature {
            Nature::Broken => return refused(None, Reason::Malformed),
            Nature::Diverts => return refused(None, Reason::ExtensionHeader),
            Nature::Asks { .. } | Nature::Echoes { .. } | Nature::Reports | Nature::Continues => {}
        }
        let peer_of = |address: IpAddr| {
            let position = snapshot.peers.iter().position(|peer| peer.addresses().contains(&address));
            position.map(|position| &model.peers[position])
        };
        let Some(peer) = peer_of(packet.source) else {
            return refused(None, Reason::UnknownSource);
        };
        let mut whole = packet.clone();
        if let Part::Later(datagram, offset) = packet.part {
            let nature = self.admitted.get(&datagram_of(packet, datagram)).copied();
            let hides_flags = offset == 1 && matches!(nature, Some(Nature::Asks { protocol: 6, .. }));
            match nature {
                Some(nature) if !hides_flags => whole.nature = nature,
                _ => return refused(Some(peer.device), Reason::Fragment),
            }
        }
        let verdict = self.ask(snapshot, model, peer, &whole);
        if let Part::First(datagram) = packet.part
            && matches!(verdict, Expected::Pass { .. })
        {
            self.admitted.insert(datagram_of(packet, datagram), packet.nature);
        }
        verdict
    }

    /// Asks about a packet, or about a fragment as if it were all of its datagram.
    fn ask(&mut self, snapshot: &Snapshot, model: &Model, peer: &Peer, packet: &Packet) -> Expected {
        let refused = |device, reason| Expected::Drop { device, reason, rule: 0 };
        let peer_of = |address: IpAddr| {
            let position = snapshot.peers.iter().position(|peer| peer.addresses().contains(&address));
            position.map(|position| &model.peers[position])
        };
        let asked = match packet.nature {
            Nature::Asks { protocol, from_port, port } => Some(Conversation {
                device: peer.device,
                source: packet.source,
                destination: packet.destination,
                protocol,
                from_port,
                port,
            }),
            _ => None,
        };
        let goes_on = asked.is_some_and(|asked| self.begun.contains(&asked));
        let answered = peer_of(packet.destination).and_then(|other| answered(other, packet));
        if !goes_on
            && let Some(conversation) = answered.filter(|answered| self.begun.contains(answered))
            && let Some(other) = peer_of(packet.destination)
        {
            match conversation.word(model, other) {
                Decision::Allow(rule) => return Expected::Pass { device: peer.device, rule: rule.0 },
                // What is refused now has ended.
                Decision::Deny(_) | Decision::NoRule => self.begun.remove(&conversation),
            };
        }
        let Some(asked) = asked else {
            return refused(Some(peer.device), Reason::NoFlow);
        };
        match asked.word(model, peer) {
            Decision::Allow(rule) => {
                self.begun.insert(asked);
                Expected::Pass { device: peer.device, rule: rule.0 }
            }
            word => {
                self.begun.remove(&asked);
                match word {
                    Decision::Deny(rule) => {
                        Expected::Drop { device: Some(peer.device), reason: Reason::RuleDeny, rule: rule.0 }
                    }
                    _ => refused(Some(peer.device), Reason::NoRule),
                }
            }
        }
    }
}

impl Conversation {
    fn word(&self, model: &Model, initiator: &Peer) -> Decision {
        let Self { destination, protocol, port, .. } = *self;
        eval(model, initiator, &Probe { destination, protocol, port })
    }
}

/// The conversation of another peer that a packet is an answer of, if there is one.
fn answered(other: &Peer, packet: &Packet) -> Option<Conversation> {
    let (protocol, from_port, port) = match packet.nature {
        // The other side of an echo request is an echo reply, and nothing else.
        Nature::Asks { protocol: 1 | 58, .. } => return None,
        Nature::Asks { protocol, from_port, port } => (protocol, port, from_port),
        Nature::Echoes { id } if packet.source.is_ipv4() => (1, id, 8 << 8),
        Nature::Echoes { id } => (58, id, 128 << 8),
        _ => return None,
    };
    let (source, destination) = (packet.destination, packet.source);
    Some(Conversation { device: other.device, source, destination, protocol, from_port, port })
}
