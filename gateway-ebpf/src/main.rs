//! The BPF programs on wg0: one for what peers send, one for what peers receive.
//!
//! What they decide, and in which order they ask, is `nexa_abi::engine`, which tests run on the host as well. Here
//! is what only a program in the kernel can do: read the packet, ask the maps, count, mark, and pass or drop.
#![no_std]
#![no_main]

mod maps;
mod skb;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use nexa_abi::engine::{self, NOBODY, Verdict};
use nexa_abi::layout::Direction;
use nexa_abi::packet::{self, Packet};
use nexa_abi::{MARK_ALLOWED, MARK_MASK};

use crate::maps::{Count, Maps};
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
    let skb = Skb::new(context);
    // SAFETY: the helper takes no arguments and is there since Linux 5.8.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let (verdict, header_bytes) = match packet::parse(&skb) {
        Ok(packet) => (decide(&packet, direction, now_ns), packet.header_bytes),
        Err(reason) => (Verdict::drop(NOBODY, reason), 0),
    };
    let (packets, bytes) = packet::segments(skb.len(), header_bytes, skb.gso_size());
    let count = Count { direction, packets, bytes };
    count.decided(&verdict);
    match verdict.dropped {
        None => {
            count.passed(verdict.peer);
            skb.set_mark(skb.mark() & !MARK_MASK | MARK_ALLOWED);
            // Not TC_ACT_OK: programs of others behind this one shall run too.
            TC_ACT_UNSPEC
        }
        Some(reason) => {
            count.dropped(verdict.peer, reason);
            TC_ACT_SHOT
        }
    }
}

#[inline(always)]
fn decide(packet: &Packet, direction: Direction, now_ns: u64) -> Verdict {
    match direction {
        Direction::Ingress => engine::ingress(&Maps, packet, now_ns),
        Direction::Egress => engine::egress(&Maps, packet, now_ns),
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
