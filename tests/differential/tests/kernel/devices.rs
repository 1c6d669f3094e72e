//! Conversations between two devices: through both programs, one after the other.

use nexa_differential::craft::{End, echo_reply, echo_request, end, flag, tcp, udp, unreachable};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS};
use nexa_wire::snapshot::{Snapshot, Subject};

use crate::flows::granted;
use crate::{Answer, apply, open, run};

/// As [`granted`], where the resource is also the second device.
pub fn to_each_other() -> Snapshot {
    let mut snapshot = granted();
    snapshot.resources[0].devices = vec![Subject::Device(snapshot.peers[1].device)];
    snapshot
}

/// A packet from one device to another: it comes out of the tunnel, and goes back into it.
fn across(dataplane: &Dataplane, bytes: &[u8]) -> Answer {
    match run(dataplane, INGRESS, bytes) {
        Answer::Pass => run(dataplane, EGRESS, bytes),
        Answer::Drop => Answer::Drop,
    }
}

/// The first device's end and the second's, in both families.
fn ends(port: u16, other_port: u16) -> [(End, End); 2] {
    [
        (end("100.96.0.2", port), end("100.96.0.3", other_port)),
        (end("fd6e:7861::2", port), end("fd6e:7861::3", other_port)),
    ]
}

#[test]
fn a_device_is_reached_only_by_who_may_and_only_its_answers_come_back() {
    let mut dataplane = open();
    apply(&mut dataplane, &to_each_other());
    for (one, other) in ends(40_000, 443) {
        let answer = tcp(other, one, flag::SYN | flag::ACK);
        assert_eq!(across(&dataplane, &answer), Answer::Drop, "nobody has asked");
        assert_eq!(across(&dataplane, &tcp(one, other, flag::SYN)), Answer::Pass);
        assert_eq!(across(&dataplane, &answer), Answer::Pass);
        assert_eq!(across(&dataplane, &tcp(one, other, flag::ACK)), Answer::Pass);

        let elsewhere = End { port: 40_001, ..one };
        assert_eq!(across(&dataplane, &tcp(other, elsewhere, flag::SYN)), Answer::Drop, "from port 443 too");
        assert_eq!(across(&dataplane, &udp(other, one)), Answer::Drop, "another protocol");
        assert_eq!(across(&dataplane, &tcp(one, End { port: 444, ..other }, flag::SYN)), Answer::Drop);
    }
    for (one, other) in ends(77, 0) {
        assert_eq!(across(&dataplane, &echo_reply(other, one)), Answer::Drop, "a reply to nothing");
        assert_eq!(across(&dataplane, &echo_request(one, other)), Answer::Pass);
        assert_eq!(across(&dataplane, &echo_reply(other, one)), Answer::Pass);
        let same_identifier = End { port: 77, ..other };
        assert_eq!(across(&dataplane, &echo_request(same_identifier, one)), Answer::Drop);
    }
}

#[test]
fn errors_between_devices_are_about_their_flow() {
    let mut dataplane = open();
    apply(&mut dataplane, &to_each_other());
    for (one, other) in ends(50_000, 53) {
        let (asked, answered) = (udp(one, other), udp(other, one));
        let about_asked = unreachable(other.address, one.address, &asked);
        assert_eq!(across(&dataplane, &about_asked), Answer::Drop, "nobody has asked");
        assert_eq!(across(&dataplane, &asked), Answer::Pass);
        assert_eq!(across(&dataplane, &about_asked), Answer::Pass);
        assert_eq!(across(&dataplane, &unreachable(one.address, other.address, &answered)), Answer::Pass);
        assert_eq!(across(&dataplane, &unreachable(one.address, other.address, &asked)), Answer::Drop);
    }
}

#[test]
fn what_the_egress_sees_of_a_device_must_have_passed_the_ingress() {
    let mut dataplane = open();
    apply(&mut dataplane, &to_each_other());
    for (one, other) in ends(40_000, 443) {
        let opening = tcp(one, other, flag::SYN);
        assert_eq!(run(&dataplane, EGRESS, &opening), Answer::Drop, "allowed, but it never came in");
        assert_eq!(across(&dataplane, &opening), Answer::Pass);
    }
}

#[test]
fn revoking_either_end_ends_their_flow() {
    let mut dataplane = open();
    let without_rule = Snapshot { rules: vec![], ..to_each_other() };
    let unnamed = granted();
    let mut one_gone = to_each_other();
    let mut other_gone = to_each_other();
    one_gone.peers.remove(0);
    other_gone.peers.remove(1);
    for (name, after) in [
        ("without the rule", without_rule),
        ("no longer named", unnamed),
        ("the first device gone", one_gone),
        ("the second device gone", other_gone),
    ] {
        apply(&mut dataplane, &to_each_other());
        for (one, other) in ends(40_000, 443) {
            assert_eq!(across(&dataplane, &tcp(one, other, flag::SYN)), Answer::Pass, "{name}");
            assert_eq!(across(&dataplane, &tcp(other, one, flag::ACK)), Answer::Pass, "{name}");
        }
        apply(&mut dataplane, &after);
        for (one, other) in ends(40_000, 443) {
            assert_eq!(across(&dataplane, &tcp(one, other, flag::ACK)), Answer::Drop, "{name}");
            assert_eq!(across(&dataplane, &tcp(other, one, flag::ACK)), Answer::Drop, "{name}");
        }
    }
}
