//! A frame in the driver's memory, from its Ethernet header on.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use nexa_abi::packet::Bytes;

/// Up to here frames are read in place, which saves a helper's call for each header: all that have none but usual
/// headers. The verifier wants to see a bound far below the largest frame.
const IN_PLACE: usize = 256;

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
    // Inline, because the verifier knows the bounds of what it has seen checked, and not through a call.
    #[inline(always)]
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        // Opaque, so that what is compared is what is added: the compiler would compare what it was computed from.
        let offset = core::hint::black_box(offset as usize);
        if offset > IN_PLACE {
            // SAFETY: the buffer has N bytes; the helper checks the frame's bounds. It is there since Linux 5.18.
            let result = unsafe {
                bpf_xdp_load_bytes(self.context, offset as u32, bytes.as_mut_ptr().cast(), N as u32)
            };
            return result == 0;
        }
        // SAFETY: the kernel hands a program a valid context.
        let (data, end) = unsafe { ((*self.context).data as usize, (*self.context).data_end as usize) };
        let start = data + offset;
        if start + N > end {
            return false;
        }
        // SAFETY: N bytes from here on are the frame's, as was just compared.
        *bytes = unsafe { (start as *const [u8; N]).read_unaligned() };
        true
    }

    // Not by way of a buffer of zeros, which would be cleared byte by byte.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: arrays of bytes are written and never read through the reference; it is all written where the answer
        // is yes.
        unsafe { self.load_into(offset, bytes.assume_init_mut()).then(|| bytes.assume_init()) }
    }

    fn len(&self) -> u32 {
        // SAFETY: the kernel hands a program a valid context, whose two addresses are of one frame.
        unsafe { (*self.context).data_end - (*self.context).data }
    }
}
