//! A frame in the driver's memory, from its Ethernet header on.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use nexa_abi::packet::Bytes;

/// The frame that the program was called for.
pub struct Frame {
    context: *mut xdp_md,
}

impl Frame {
    /// The frame of a context.
    pub fn new(context: &XdpContext) -> Self {
        Self { context: context.ctx }
    }
}

impl Bytes for Frame {
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        // SAFETY: the buffer has N bytes; the helper checks the frame's bounds. It is there since Linux 5.18.
        let result =
            unsafe { bpf_xdp_load_bytes(self.context, offset, bytes.as_mut_ptr().cast(), N as u32) };
        result == 0
    }

    fn len(&self) -> u32 {
        // SAFETY: the kernel hands a program a valid context, whose two addresses are of one frame.
        unsafe { (*self.context).data_end - (*self.context).data }
    }
}
