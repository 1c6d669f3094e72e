//! What the programs read and write of a packet beside its bytes: the mark, and how many segments it stands for.

use aya::{TestRun as _, TestRunOptions};
use nexa_abi::{MARK_ALLOWED, MARK_MASK};
use nexa_differential::craft::{end, flag, tcp};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS};

use crate::flows::granted;
use crate::{apply, flat, open};

/// linux/bpf.h, `struct __sk_buff`: its size, and where some of its words are.
const SIZE: usize = 192;
const MARK: usize = 8;
const GSO_SIZE: usize = 176;

/// Runs a program on a packet with a mark, which may be several joined to one; returns its mark afterwards.
fn run(dataplane: &Dataplane, program: &str, bytes: &[u8], mark: u32, gso_size: u32) -> u32 {
    let (mut before, mut after) = ([0; SIZE], [0; SIZE]);
    before[MARK..MARK + 4].copy_from_slice(&mark.to_ne_bytes());
    before[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&gso_size.to_ne_bytes());
    let options = TestRunOptions {
        data_in: Some(bytes),
        ctx_in: Some(&before),
        ctx_out: Some(&mut after),
        ..TestRunOptions::default()
    };
    dataplane.program(program).unwrap().test_run(options).unwrap();
    u32::from_ne_bytes(*after[MARK..].first_chunk().unwrap())
}

#[test]
fn what_passes_gets_our_mark_and_keeps_the_bits_of_others_and_what_ends_keeps_its_own() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
    let (asked, answer) = (tcp(peer, server, flag::SYN), tcp(server, peer, flag::ACK));
    let elsewhere = tcp(peer, end("10.20.1.10", 443), flag::SYN);
    // Not of ones only: an operation that is another by mistake shall show.
    for mark in [0, u32::MAX, 0x1234_5678, MARK_MASK, MARK_ALLOWED, !MARK_MASK] {
        let marked = mark & !MARK_MASK | MARK_ALLOWED;
        assert_eq!(run(&dataplane, INGRESS, &asked, mark, 0), marked, "{mark:#x}");
        assert_eq!(run(&dataplane, EGRESS, &answer, mark, 0), marked, "{mark:#x}");
        assert_eq!(run(&dataplane, INGRESS, &elsewhere, mark, 0), mark, "{mark:#x}");
    }
}

#[test]
fn packets_that_were_joined_to_one_are_counted_as_what_they_were() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
    let joined = |mut bytes: Vec<u8>| {
        bytes.resize(40 + 2_500, 0);
        let length = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    run(&dataplane, INGRESS, &joined(tcp(peer, server, flag::ACK)), 0, 1_000);
    run(&dataplane, EGRESS, &joined(tcp(server, peer, flag::ACK)), 0, 1_000);
    run(&dataplane, INGRESS, &joined(tcp(peer, end("10.20.1.10", 443), flag::ACK)), 0, 1_000);
    let counted = flat(&dataplane.counters().unwrap());
    let device = "00000000-0000-0000-0000-000000000001";
    // Three segments each, of which two repeat 40 bytes of headers.
    let bytes = 2_540 + 2 * 40;
    let expected = [
        (format!("{device} received packets"), 6),
        (format!("{device} received bytes"), 2 * bytes),
        (format!("{device} sent packets"), 3),
        (format!("{device} sent bytes"), bytes),
        (format!("{device} drops no_rule"), 3),
        ("ingress no_rule".to_owned(), 3),
        ("rule 7 allowed packets".to_owned(), 6),
        ("rule 7 allowed bytes".to_owned(), 2 * bytes),
        ("rule default_deny denied packets".to_owned(), 3),
        ("rule default_deny denied bytes".to_owned(), bytes),
    ];
    assert_eq!(counted, expected.into_iter().collect());
}
