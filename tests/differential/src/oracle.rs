//! What must happen to a packet that a peer sends, said by the specification.

use nexa_abi::reason::Reason;
use nexa_policy::{Decision, Model, Probe, eval};
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

use crate::packets::{Nature, Packet};

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

/// Asks the specification.
pub fn ingress(snapshot: &Snapshot, model: &Model, packet: &Packet) -> Expected {
    let refused = |device, reason| Expected::Drop { device, reason, rule: 0 };
    match packet.nature {
        Nature::Broken => return refused(None, Reason::Malformed),
        Nature::Fragment => return refused(None, Reason::Fragment),
        Nature::Diverts => return refused(None, Reason::ExtensionHeader),
        Nature::Asks { .. } | Nature::Answers => {}
    }
    let Some(position) = snapshot.peers.iter().position(|peer| peer.addresses().contains(&packet.source))
    else {
        return refused(None, Reason::UnknownSource);
    };
    let peer = &model.peers[position];
    let Nature::Asks { protocol, port } = packet.nature else {
        return refused(Some(peer.device), Reason::NoFlow);
    };
    match eval(model, peer, &Probe { destination: packet.destination, protocol, port }) {
        Decision::Allow(rule) => Expected::Pass { device: peer.device, rule: rule.0 },
        Decision::Deny(rule) => {
            Expected::Drop { device: Some(peer.device), reason: Reason::RuleDeny, rule: rule.0 }
        }
        Decision::NoRule => refused(Some(peer.device), Reason::NoRule),
    }
}
