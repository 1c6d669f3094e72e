//! Transport headers, and the packets that ICMP errors quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use super::{Nature, Payload, Question, network};
use crate::policy;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// The numbers of one ICMP version.
struct Icmp {
    protocol: u8,
    echo_request: u8,
    echo_reply: u8,
    /// Types that report errors.
    errors: &'static [u8],
    /// Types that ask or tell something else.
    others: &'static [u8],
}

const V4: Icmp =
    Icmp { protocol: 1, echo_request: 8, echo_reply: 0, errors: &[3, 11, 12], others: &[5, 9, 13, 14, 17] };
const V6: Icmp = Icmp {
    protocol: 58,
    echo_request: 128,
    echo_reply: 129,
    errors: &[1, 2, 3, 4],
    others: &[130, 133, 135, 136, 137],
};

impl Icmp {
    /// Type and code of an echo request, as a port.
    const fn request(&self) -> u16 {
        (self.echo_request as u16) << 8
    }
}

const fn icmp_of(v6: bool) -> &'static Icmp {
    if v6 { &V6 } else { &V4 }
}

/// Any transport header.
pub fn any(rng: &mut Rng, source: IpAddr, destination: IpAddr) -> Payload {
    let v6 = source.is_ipv6();
    let icmp = icmp_of(v6);
    // Of the same few, so that one peer's packet may answer another's.
    let from_port = if rng.bool() { policy::port(rng) } else { rng.u16(1024..1040) };
    let port = policy::port(rng);
    let question = |protocol, from_port, port| Question { source, destination, protocol, from_port, port };
    match rng.u8(0..16) {
        0 => echo_reply(v6, echo_id(rng, icmp)),
        1 => {
            let about = never_sent(rng, v6);
            report(rng, v6, about)
        }
        2..4 => {
            let id = echo_id(rng, icmp);
            carry(rng, &question(icmp.protocol, id, icmp.request()))
        }
        4 => {
            let kind_and_code = [icmp.others[rng.usize(0..icmp.others.len())], rng.u8(0..2)];
            carry(rng, &question(icmp.protocol, 0, u16::from_be_bytes(kind_and_code)))
        }
        5 => carry(rng, &question(SCTP, 0, 0)),
        // ICMP of the other version.
        6 => {
            let bytes = icmp_header(8, 0, rng.u16(..));
            Payload { bytes, protocol: icmp_of(!v6).protocol, nature: Nature::Broken }
        }
        7..12 => carry(rng, &question(TCP, from_port, port)),
        _ => carry(rng, &question(UDP, from_port, port)),
    }
}

/// A header that asks this, as far as the protocol has fields to ask it in.
pub fn carry(rng: &mut Rng, question: &Question) -> Payload {
    let Question { protocol, mut from_port, mut port, .. } = *question;
    let bytes = match protocol {
        TCP => {
            let mut bytes = ports(from_port, port, 20);
            bytes[12] = 5 << 4;
            bytes[13] = [0x02, 0x10, 0x18, 0x11, 0x04, 0x12][rng.usize(0..6)];
            bytes
        }
        UDP => ports(from_port, port, 8),
        1 | 58 => {
            let [kind, code] = port.to_be_bytes();
            if port != icmp_of(protocol == 58).request() {
                from_port = 0;
            }
            icmp_header(kind, code, from_port)
        }
        _ => {
            (from_port, port) = (0, 0);
            vec![0; 8]
        }
    };
    Payload { bytes, protocol, nature: Nature::Asks { protocol, from_port, port } }
}

/// What answers this: an echo reply or the ports the other way. Of other ICMP there is no answer.
pub fn answer(rng: &mut Rng, question: &Question) -> Payload {
    let icmp = icmp_of(question.source.is_ipv6());
    if question.protocol == icmp.protocol && question.port == icmp.request() {
        return echo_reply(question.source.is_ipv6(), question.from_port);
    }
    if question.protocol == icmp.protocol {
        return carry(rng, question);
    }
    carry(rng, &question.reversed())
}

/// An error about a packet.
pub fn report(rng: &mut Rng, v6: bool, about: Question) -> Payload {
    let icmp = icmp_of(v6);
    let mut bytes = icmp_header(icmp.errors[rng.usize(0..icmp.errors.len())], rng.u8(0..5), 0);
    bytes.extend(network::plain(about.source, about.destination, about.protocol));
    let mut quoted = carry(rng, &about);
    let is_icmp = about.protocol == icmp.protocol;
    if is_icmp && rng.u8(0..4) == 0 {
        // A code that no request has, in a quotation that reads like one otherwise.
        quoted.bytes[1] = 1;
    }
    bytes.extend(&quoted.bytes[..8]);
    let icmp_but_no_request = is_icmp && quoted.bytes[..2] != icmp.request().to_be_bytes();
    let Nature::Asks { from_port, port, .. } = quoted.nature else { unreachable!("what carries a question") };
    let about = Question { from_port, port, ..about };
    let nature = match rng.u8(0..24) {
        0 => {
            // What is quoted ends before it says what it is about.
            bytes.truncate(bytes.len() - rng.usize(1..9));
            Nature::Broken
        }
        _ if icmp_but_no_request => Nature::ReportsIdly,
        _ => Nature::Reports { about },
    };
    Payload { bytes, protocol: icmp.protocol, nature }
}

/// A packet between addresses that are nobody's.
fn never_sent(rng: &mut Rng, v6: bool) -> Question {
    let mut nobody = || -> IpAddr {
        let host = rng.u8(..);
        if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)).into()
        } else {
            Ipv4Addr::new(192, 0, 2, host).into()
        }
    };
    let (source, destination) = (nobody(), nobody());
    let protocol = [UDP, TCP, icmp_of(v6).protocol][rng.usize(0..3)];
    Question { source, destination, protocol, from_port: 5000, port: rng.u16(..) }
}

/// Of the few that peers use, and those that read like type and code of a request.
fn echo_id(rng: &mut Rng, icmp: &Icmp) -> u16 {
    if rng.u8(0..4) == 0 { icmp.request() } else { rng.u16(0..4) }
}

fn echo_reply(v6: bool, id: u16) -> Payload {
    let icmp = icmp_of(v6);
    let bytes = icmp_header(icmp.echo_reply, 0, id);
    Payload { bytes, protocol: icmp.protocol, nature: Nature::Echoes { id } }
}

fn icmp_header(kind: u8, code: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![kind, code, 0, 0, high, low, 0, 1]
}

fn ports(from_port: u16, port: u16, header_bytes: usize) -> Vec<u8> {
    let mut bytes = [from_port.to_be_bytes(), port.to_be_bytes()].concat();
    bytes.resize(header_bytes, 0);
    bytes
}
