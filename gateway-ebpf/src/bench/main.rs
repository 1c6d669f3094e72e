//! BPF programs of benches: they make packets, and end packets. No gateway loads them.
//!
//! The injector runs by BPF_PROG_TEST_RUN on live frames, which repeat one buffer; it writes the headers of the next
//! prepared frame over it, so that packets differ as the bench wants them to.
#![no_std]
#![no_main]

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action::XDP_DROP};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Bytes of a prepared frame: Ethernet, IPv6 and TCP headers, in whole words.
const FRAME_BYTES: usize = 80;

/// A prepared frame, in words, so that it is copied by words.
type Frame = [u64; FRAME_BYTES / 8];

/// Where the injector is.
#[repr(C)]
#[derive(Clone, Copy)]
struct Cursor {
    /// The next frame.
    next: u32,
    /// How many there are; the first comes after the last.
    count: u32,
    /// How often the last was reached.
    lap: u32,
    /// What is added to source ports in each lap: 0 repeats the same flows, 1 begins new ones.
    port_step: u32,
}

/// Prepared frames, in the order in which they are sent. The loader sets the size.
#[map]
static FRAMES: Array<Frame> = Array::with_max_entries(1, 0);
#[map]
static CURSOR: Array<Cursor> = Array::with_max_entries(1, 0);
/// Packets that a classifier of this object has ended, and those that it let pass.
#[map]
static ENDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What becomes of an injected frame, one of the XDP actions. The loader sets it.
#[unsafe(no_mangle)]
static ACTION: u32 = 0;

/// Makes the next frame.
#[xdp]
pub fn inject(context: XdpContext) -> u32 {
    let (Some(cursor), start) = (CURSOR.get_ptr_mut(0), context.data()) else { return XDP_DROP };
    if start + FRAME_BYTES > context.data_end() {
        return XDP_DROP;
    }
    // SAFETY: a valid element; one thread of the bench runs this program at a time.
    let cursor = unsafe { &mut *cursor };
    let Some(frame) = FRAMES.get(cursor.next) else { return XDP_DROP };
    // SAFETY: the packet has so many bytes, as was just compared; its start is a multiple of eight.
    unsafe { *(start as *mut Frame) = *frame }
    if cursor.port_step > 0 {
        // An Ethernet type of 0x86dd is IPv6, whose header is longer.
        let port = if frame[1] >> 32 & 0xff == 0x86 { 54 } else { 34 };
        // SAFETY: within the bytes compared above.
        let port = unsafe { &mut *((start + port) as *mut u16) };
        *port = port.wrapping_add((cursor.lap * cursor.port_step) as u16);
    }
    cursor.next += 1;
    if cursor.next >= cursor.count {
        cursor.next = 0;
        cursor.lap += 1;
    }
    // SAFETY: the static lives in the read-only section. Volatile, as the loader has written it.
    unsafe { core::ptr::read_volatile(&raw const ACTION) }
}

/// Ends every packet, and counts it.
#[classifier]
pub fn end(_: TcContext) -> i32 {
    count();
    TC_ACT_SHOT
}

/// Lets every packet pass, as the gateway's programs do, and counts it.
#[classifier]
pub fn pass(_: TcContext) -> i32 {
    count();
    TC_ACT_UNSPEC
}

/// Ends every frame in the driver: what a frame costs that is thrown away unread.
#[xdp]
pub fn discard(_: XdpContext) -> u32 {
    count();
    XDP_DROP
}

fn count() {
    if let Some(ended) = ENDED.get_ptr_mut(0) {
        // SAFETY: a valid element, and this CPU's own.
        unsafe { *ended += 1 }
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
