//! The BPF program on the uplink: junk for the WireGuard port ends here.
//!
//! What it refuses is `nexa_abi::xdp_guard`, which tests run on the host as well. It is an object of its own: it
//! shares no map with the programs on wg0, and a gateway serves without it.
#![no_std]
#![no_main]

mod frame;
mod maps;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use nexa_abi::xdp_guard::{self, Verdict};

use crate::frame::Frame;
use crate::maps::Maps;

/// What arrives on the uplink, before the kernel makes a packet of it.
#[xdp]
pub fn nexa_xdp_guard(context: XdpContext) -> u32 {
    let Some(config) = maps::config() else { return XDP_PASS };
    let verdict = xdp_guard::judge(&Frame::new(&context), &config, &Maps);
    if verdict != Verdict::NotOurs {
        maps::count(verdict);
    }
    if verdict.is_drop() { XDP_DROP } else { XDP_PASS }
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
