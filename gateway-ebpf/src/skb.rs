//! A packet in the kernel, from its IP header on.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use nexa_abi::packet::Bytes;

/// Bytes in front of the IP header. wg0 is a layer-3 device and has none; benches attach the same object to an
/// Ethernet device and have the loader write 14.
#[unsafe(no_mangle)]
static L2_LEN: u32 = 0;

/// The packet that a program was called for.
pub struct Skb {
    skb: *mut __sk_buff,
    l2_len: u32,
}

impl Skb {
    /// The packet of a context.
    pub fn new(context: &TcContext) -> Self {
        // SAFETY: the static lives in the read-only section. The read is volatile because its value is only known
        // once the loader has written it.
        let l2_len = unsafe { core::ptr::read_volatile(&raw const L2_LEN) };
        Self { skb: context.skb.skb, l2_len }
    }

    /// Bytes from the IP header on; of a GSO packet, of all its segments with one set of headers.
    pub fn len(&self) -> u32 {
        // SAFETY: the kernel hands a program a valid context.
        unsafe { (*self.skb).len }.saturating_sub(self.l2_len)
    }

    /// Payload bytes of a segment; 0 where the packet is not segmented.
    pub fn gso_size(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).gso_size }
    }

    /// The packet's mark.
    pub fn mark(&self) -> u32 {
        // SAFETY: as above. Volatile: the verifier takes whole words only, and LLVM would narrow an access to the
        // byte that matters.
        unsafe { core::ptr::read_volatile(&raw const (*self.skb).mark) }
    }

    /// Writes the packet's mark.
    pub fn set_mark(&self, mark: u32) {
        // SAFETY: as above; programs of this type may write the field.
        unsafe { core::ptr::write_volatile(&raw mut (*self.skb).mark, mark) }
    }
}

impl Bytes for Skb {
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        // SAFETY: the buffer has N bytes; the helper checks the packet's bounds, paged parts included.
        let result = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), self.l2_len + offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        result == 0
    }

    fn len(&self) -> u32 {
        Self::len(self)
    }
}
