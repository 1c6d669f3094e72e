//! What must happen to a packet, said by the specification and by what was said before.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use nexa_abi::layout::Direction;
use nexa_abi::reason::Reason;
use nexa_policy::model::Peer;
use nexa_policy::{Decision, Model, Probe, eval};
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

use crate::packets::{Datagram, Nature, Packet, Part, Question};
use crate::policy;

/// What must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It goes on, by this rule.
    Pass {
        /// Whose packet it is: who sent it on the way in, who receives it on the way out.
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

impl Expected {
    /// Whether it goes on.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Pass { .. })
    }
}

/// The conversations that peers have begun so far. They outlive policies: each packet asks the policy of its time.
#[derive(Debug)]
pub struct Oracle {
    begun: HashSet<Conversation>,
    /// What the first fragments were that passed.
    admitted: HashMap<(Direction, IpAddr, IpAddr, Datagram), Nature>,
    at: DateTime<Utc>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self { begun: HashSet::new(), admitted: HashMap::new(), at: policy::at() }
    }
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

    /// From now on packets come at another instant than [`policy::at`].
    pub fn set_clock(&mut self, at: DateTime<Utc>) {
        self.at = at;
    }

    /// Asks the specification about a packet.
    pub fn ask(
        &mut self,
        snapshot: &Snapshot,
        model: &Model,
        direction: Direction,
        packet: &Packet,
    ) -> Expected {
        if let Some(reason) = unreadable(packet) {
            return refused(None, reason);
        }
        let (whose, unknown) = match direction {
            Direction::Ingress => (packet.source, Reason::UnknownSource),
            Direction::Egress => (packet.destination, Reason::UnknownPeer),
        };
        let Some(peer) = peer_of(snapshot, model, whose) else { return refused(None, unknown) };
        let whole = match packet.part {
            Part::Later(datagram, offset) => {
                let first = self.admitted.get(&fragment_of(direction, packet, datagram)).copied();
                let hides_flags = offset == 1 && matches!(first, Some(Nature::Asks { protocol: 6, .. }));
                match first {
                    Some(nature) if !hides_flags => &Packet { nature, ..packet.clone() },
                    _ => return refused(Some(peer.device), Reason::Fragment),
                }
            }
            Part::First(_) | Part::Whole => packet,
        };
        let verdict = match direction {
            Direction::Ingress => self.ingress(snapshot, model, peer, whole),
            Direction::Egress => self.egress(snapshot, model, peer, whole),
        };
        // Errors are never so long that they come in parts.
        if let Part::First(datagram) = packet.part
            && verdict.passes()
            && !matches!(packet.nature, Nature::Reports { .. })
        {
            self.admitted.insert(fragment_of(direction, packet, datagram), packet.nature);
        }
        verdict
    }

    /// Asks about a packet from a peer, or about a fragment as if it were all of its datagram.
    fn ingress(&mut self, snapshot: &Snapshot, model: &Model, sender: &Peer, packet: &Packet) -> Expected {
        let device = sender.device;
        if let Some(word) = self.word(model, sender, said_by_initiator(packet, sender)) {
            return verdict(device, word);
        }
        if let Some(receiver) = peer_of(snapshot, model, packet.destination)
            && let Some(word @ Decision::Allow(_)) =
                self.word(model, receiver, said_to_initiator(packet, receiver))
        {
            return verdict(device, word);
        }
        let Some(asked) = packet.question().map(|question| Conversation::of(sender, &question)) else {
            return refused(Some(device), Reason::NoFlow);
        };
        let word = asked.word(model, sender, self.at);
        if let Decision::Allow(_) = word {
            self.begun.insert(asked);
        }
        verdict(device, word)
    }

    /// Asks about a packet to a peer: nobody but peers begins anything.
    fn egress(&mut self, snapshot: &Snapshot, model: &Model, receiver: &Peer, packet: &Packet) -> Expected {
        let device = receiver.device;
        if let Some(word) = self.word(model, receiver, said_to_initiator(packet, receiver)) {
            return verdict(device, word);
        }
        // Of another peer, and admitted on its way in.
        if let Some(sender) = peer_of(snapshot, model, packet.source)
            && let Some(word @ Decision::Allow(_)) =
                self.word(model, sender, said_by_initiator(packet, sender))
        {
            return verdict(device, word);
        }
        refused(Some(device), Reason::NoFlow)
    }

    /// What policy says now of a conversation that was begun; it ends with a refusal.
    fn word(&mut self, model: &Model, initiator: &Peer, said: Option<Conversation>) -> Option<Decision> {
        let said = said.filter(|said| self.begun.contains(said))?;
        let word = said.word(model, initiator, self.at);
        if !matches!(word, Decision::Allow(_)) {
            self.begun.remove(&said);
        }
        Some(word)
    }
}

const fn refused(device: Option<DeviceId>, reason: Reason) -> Expected {
    Expected::Drop { device, reason, rule: 0 }
}

const fn verdict(device: DeviceId, word: Decision) -> Expected {
    match word {
        Decision::Allow(rule) => Expected::Pass { device, rule: rule.0 },
        Decision::Deny(rule) => {
            Expected::Drop { device: Some(device), reason: Reason::RuleDeny, rule: rule.0 }
        }
        Decision::NoRule => refused(Some(device), Reason::NoRule),
        Decision::Excluded => refused(Some(device), Reason::Excluded),
    }
}

/// Why a packet ends before anybody asks whose it is.
const fn unreadable(packet: &Packet) -> Option<Reason> {
    match packet.nature {
        Nature::Broken => Some(Reason::Malformed),
        Nature::Diverts => Some(Reason::ExtensionHeader),
        Nature::ReportsIdly => Some(Reason::NoFlow),
        Nature::Asks { .. } | Nature::Echoes { .. } | Nature::Reports { .. } | Nature::Continues => None,
    }
}

/// Of IPv6 the sender's number alone says which datagram a fragment is of.
fn fragment_of(
    direction: Direction,
    packet: &Packet,
    datagram: Datagram,
) -> (Direction, IpAddr, IpAddr, Datagram) {
    let protocol = if packet.source.is_ipv4() { datagram.protocol } else { 0 };
    (direction, packet.source, packet.destination, Datagram { protocol, ..datagram })
}

fn peer_of<'a>(snapshot: &Snapshot, model: &'a Model, address: IpAddr) -> Option<&'a Peer> {
    let position = snapshot.peers.iter().position(|peer| peer.addresses().contains(&address));
    position.map(|position| &model.peers[position])
}

impl Conversation {
    const fn of(initiator: &Peer, question: &Question) -> Self {
        let Question { source, destination, protocol, from_port, port } = *question;
        Self { device: initiator.device, source, destination, protocol, from_port, port }
    }

    fn word(&self, model: &Model, initiator: &Peer, at: DateTime<Utc>) -> Decision {
        let Self { destination, protocol, port, .. } = *self;
        eval(model, initiator, &Probe { destination, protocol, port }, at)
    }
}

/// The conversation that a packet belongs to if its sender began one.
fn said_by_initiator(packet: &Packet, sender: &Peer) -> Option<Conversation> {
    let question = match packet.nature {
        // About a packet of the other side.
        Nature::Reports { about } => reversed(about)?,
        _ => packet.question()?,
    };
    Some(Conversation::of(sender, &question))
}

/// The conversation that a packet belongs to if its receiver began one.
fn said_to_initiator(packet: &Packet, receiver: &Peer) -> Option<Conversation> {
    let (source, destination) = (packet.destination, packet.source);
    let echo = |protocol, from_port, kind: u16| Question {
        source,
        destination,
        protocol,
        from_port,
        port: kind << 8,
    };
    let question = match packet.nature {
        Nature::Echoes { id } if packet.source.is_ipv4() => echo(1, id, 8),
        Nature::Echoes { id } => echo(58, id, 128),
        // About a packet of the receiver's.
        Nature::Reports { about } => about,
        _ => reversed(packet.question()?)?,
    };
    Some(Conversation::of(receiver, &question))
}

/// The question that such a packet answers. The other side of an echo request is an echo reply, and nothing else.
const fn reversed(question: Question) -> Option<Question> {
    match question.protocol {
        1 | 58 => None,
        _ => Some(question.reversed()),
    }
}
