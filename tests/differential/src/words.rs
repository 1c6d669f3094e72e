//! Cases in words: a short policy and a few packets that a person reads.

use std::fmt::{Display, Write as _};

use nexa_abi::layout::Direction;
use nexa_wire::snapshot::{Effect, Resource, Rule, Snapshot, Subject, Target, Traffic};

use crate::packets::{Nature, Packet, Part, Question};
use crate::trial::Step;

/// What happened, in order.
pub fn of(steps: &[Step]) -> String {
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Policy(snapshot) => text += &format!("{number}. policy\n{}", policy(snapshot)),
            Step::Packet(direction, packet) => {
                text += &format!("{number}. {}", packet_of(*direction, packet))
            }
        }
    }
    text
}

fn policy(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for peer in &snapshot.peers {
        let groups = list(peer.groups.iter().map(short));
        let _ = writeln!(
            text,
            "   {} ({}, {}) of user {}, groups [{groups}]",
            peer.name,
            peer.v4,
            peer.v6,
            short(&peer.user)
        );
    }
    for rule in &snapshot.rules {
        let _ = writeln!(text, "   {}", rule_of(snapshot, rule));
    }
    text
}

fn rule_of(snapshot: &Snapshot, rule: &Rule) -> String {
    let effect = match rule.effect {
        Effect::Allow => "allows",
        Effect::Deny => "denies",
    };
    let who = list(rule.who.iter().map(|subject| subject_of(snapshot, subject)));
    let what = rule.what.iter().map(|target| {
        let Target::Resource(id) = target;
        let resource = snapshot.resources.iter().find(|resource| resource.id == *id);
        resource.map_or_else(|| "nothing".to_owned(), |resource| resource_of(snapshot, resource))
    });
    format!("rule {} {effect} {who} → {}", rule.id, what.collect::<Vec<_>>().join(" and "))
}

fn resource_of(snapshot: &Snapshot, resource: &Resource) -> String {
    let cidrs = resource.cidrs.iter().map(ToString::to_string);
    let devices = resource.devices.iter().map(|subject| subject_of(snapshot, subject));
    let traffic = list(resource.traffic.iter().map(traffic_of));
    format!("[{}: {traffic}]", list(cidrs.chain(devices)))
}

fn traffic_of(traffic: &Traffic) -> String {
    match traffic.ports() {
        Some(ports) => format!("{} {ports}", traffic.protocol()),
        None => traffic.protocol().to_string(),
    }
}

fn subject_of(snapshot: &Snapshot, subject: &Subject) -> String {
    match subject {
        Subject::Everyone => "everyone".to_owned(),
        Subject::Group(group) => format!("group {}", short(group)),
        Subject::User(user) => format!("user {}", short(user)),
        Subject::Device(device) => snapshot
            .peers
            .iter()
            .find(|peer| peer.device == *device)
            .map_or_else(|| format!("device {}", short(device)), |peer| peer.name.clone()),
    }
}

fn packet_of(direction: Direction, packet: &Packet) -> String {
    let way = match direction {
        Direction::Ingress => "from a peer",
        Direction::Egress => "to a peer",
    };
    let hex = packet.bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let part = match packet.part {
        Part::Whole => String::new(),
        Part::First(datagram) => format!(", first fragment of datagram {}", datagram.id),
        Part::Later(datagram, offset) => format!(", later fragment at {offset} of datagram {}", datagram.id),
    };
    let Packet { source, destination, .. } = packet;
    format!("packet {way}: {source} → {destination}, {}{part}\n   {hex}\n", nature(packet.nature))
}

fn nature(nature: Nature) -> String {
    match nature {
        Nature::Asks { protocol, from_port, port } => {
            format!("asks {}", transport(protocol, from_port, port))
        }
        Nature::Echoes { id } => format!("echo reply of identifier {id}"),
        Nature::Reports { about } => {
            let Question { source, destination, protocol, from_port, port } = about;
            let what = transport(protocol, from_port, port);
            format!("reports an error about {source} → {destination}, {what}")
        }
        Nature::ReportsIdly => "reports an error about what is never reported on".to_owned(),
        Nature::Broken => "broken".to_owned(),
        Nature::Continues => "continues".to_owned(),
        Nature::Diverts => "with extension headers that nobody follows".to_owned(),
    }
}

fn transport(protocol: u8, from_port: u16, port: u16) -> String {
    match protocol {
        6 => format!("TCP {port} from port {from_port}"),
        17 => format!("UDP {port} from port {from_port}"),
        1 | 58 => format!("ICMP type {} code {}, identifier {from_port}", port >> 8, port & 0xff),
        _ => format!("protocol {protocol}"),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// The end of an id: those of [`crate::policy`] differ there.
fn short(id: &impl Display) -> String {
    let text = id.to_string();
    text.rsplit('-').next().unwrap_or_default().trim_start_matches('0').to_owned()
}
