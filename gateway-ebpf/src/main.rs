//! The BPF programs on wg0: one for what peers send, one for what peers receive.
//!
//! What they decide, and in which order they ask, is `nexa_abi::engine`, which tests run on the host as well. Here
//! is what only a program in the kernel can do: read the packet, ask the maps, count, mark, and pass or drop.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod maps;
mod skb;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use nexa_abi::engine::{self, NOBODY, Now, Verdict};
use nexa_abi::layout::{Direction, Event, FLOW_BEGAN};
use nexa_abi::packet::{self, Packet};

use crate::maps::{Count, Maps, Scratch};
use crate::skb::Skb;

/// What peers send: runs before netfilter sees the packet.
#[classifier]
pub fn nexa_ingress(context: TcContext) -> i32 {
    filter(&context, Direction::Ingress)
}

/// What peers receive: runs after netfilter has translated addresses back.
#[classifier]
pub fn nexa_egress(context: TcContext) -> i32 {
    filter(&context, Direction::Egress)
}

// A frame of its own would cost 32 of the 512 bytes of stack, and each program only needs its own direction.
#[inline(always)]
fn filter(context: &TcContext, direction: Direction) -> i32 {
    let Some(scratch) = Scratch::here() else { return TC_ACT_SHOT };
    scratch.begin();
    let now = &scratch.now;
    let met = meet(context, now, &mut scratch.packet, direction);
    if met == PASSED {
        // Not TC_ACT_OK: programs of others behind this one shall run too.
        return TC_ACT_UNSPEC;
    }
    let skb = Skb::new(context);
    let packet = &mut scratch.packet;
    let read = if met == READ { Ok(()) } else { packet::parse_into(&skb, packet) };
    let verdict = match read {
        Ok(()) => engine::judge(&Maps, packet, direction, now),
        Err(reason) => {
            packet.header_bytes = 0;
            Verdict::drop(NOBODY, reason)
        }
    };
    let (packets, bytes) = packet::segments(skb.len(), packet.header_bytes, skb.gso_size());
    let count = Count { direction, packets, bytes };
    count.decided(&verdict);
    match verdict.dropped {
        None => {
            count.passed(verdict.peer);
            if verdict.began {
                tell(packet, &verdict, FLOW_BEGAN, &Told { direction, now, length_bytes: skb.len() });
            }
            skb.admit();
            TC_ACT_UNSPEC
        }
        Some(reason) => {
            count.dropped(verdict.peer, reason);
            tell(packet, &verdict, reason as u32, &Told { direction, now, length_bytes: skb.len() });
            TC_ACT_SHOT
        }
    }
}

/// It went on.
const PASSED: u32 = 0;
/// It was read, and is to be judged.
const READ: u32 = 1;
/// It is out of the ordinary.
const STRANGE: u32 = 2;

/// Passes a packet of a flow that this CPU has seen live a moment ago, which is nearly every packet; and reads those that
/// are as easily read.
// In a frame of its own, which is gone before anything else needs the stack.
#[inline(never)]
fn meet(context: &TcContext, now: &Now, packet: &mut Packet, direction: Direction) -> u32 {
    let skb = Skb::new(context);
    let Some(plain) = packet::read_plain(&skb) else { return STRANGE };
    let Some(verdict) = engine::recall(&Maps, &plain, direction, now) else {
        packet.become_plain(&plain);
        return READ;
    };
    let (packets, bytes) = packet::segments(skb.len(), plain.header_bytes, skb.gso_size());
    let count = Count { direction, packets, bytes };
    count.decided(&verdict);
    count.passed(verdict.peer);
    skb.admit();
    PASSED
}

/// What an event says that neither packet nor verdict do.
struct Told<'a> {
    direction: Direction,
    now: &'a Now,
    length_bytes: u32,
}

/// Tells of a packet, unless too much was told of its peer already.
#[inline(never)]
fn tell(packet: &Packet, verdict: &Verdict, what: u32, told: &Told<'_>) {
    let Some(untold) = engine::tell(&Maps, verdict.peer, what, told.now.ns) else { return };
    let event = Event {
        boot_ns: told.now.ns,
        generation: told.now.state.generation(),
        peer: verdict.peer,
        rule: verdict.rule,
        what,
        direction: told.direction as u32,
        length_bytes: told.length_bytes,
        untold,
        tuple: packet.tuple,
    };
    if !maps::tell(event) {
        engine::untell(&Maps, verdict.peer, what, untold);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no program gets here.
    loop {}
}

/// Some helpers are only for programs under a licence that the kernel calls compatible.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
