//! A packet in the kernel, from its IP header on.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use nexa_abi::packet::Bytes;
use nexa_abi::{MARK_ALLOWED, MARK_MASK};

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

    /// Loads what is not in the first part of the packet's memory, if the packet has it at all.
    ///
    /// # Safety
    /// `bytes` must be valid for writes of `length` bytes.
    #[inline(always)]
    unsafe fn load_paged(&self, offset: u32, bytes: *mut core::ffi::c_void, length: u32) -> bool {
        // SAFETY: as the caller promises; the helper checks the packet's bounds, paged parts included.
        unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, bytes, length) == 0 }
    }

    /// Marks the packet as admitted.
    pub fn admit(&self) {
        // SAFETY: as above; programs of this type may read and write the field. Volatile: the verifier takes whole words
        // only, and LLVM would narrow an access to the byte that matters.
        unsafe {
            let mark = &raw mut (*self.skb).mark;
            mark.write_volatile(mark.read_volatile() & !MARK_MASK | MARK_ALLOWED);
        }
    }
}

/// A word of a packet, which lies where it lies. The compiler knows no loads without alignment for this machine, and would
/// put it together from bytes; kernels take them on machines that do.
///
/// # Safety
/// The address must be valid for reads of four bytes.
#[inline(always)]
unsafe fn word(address: usize) -> u32 {
    let word: u64;
    // SAFETY: as the caller promises; a load writes nothing.
    unsafe {
        core::arch::asm!(
            "{word} = *(u32 *)({address} + 0)",
            word = out(reg) word,
            address = in(reg) address,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    word as u32
}

/// Up to here packets are read in place, which saves a helper's call for each header. The verifier wants to see a bound far
/// below the largest packet.
const IN_PLACE: usize = 256;

impl Bytes for Skb {
    // Inline, because the verifier knows the bounds of what it has seen checked, and not through a call.
    #[inline(always)]
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        // Opaque, so that what is compared is what is added: the compiler would compare what it was computed from.
        let offset = core::hint::black_box((self.l2_len + offset) as usize);
        if offset <= IN_PLACE {
            // SAFETY: the kernel hands a program a valid context.
            let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
            let start = data + offset;
            // Opaque as well: `start + 1 <= end` would become `start < end`, of which the verifier learns nothing.
            if core::hint::black_box(start + N) <= end {
                // SAFETY: N bytes from here on are the packet's, as was just compared.
                *bytes = unsafe { (start as *const [u8; N]).read_unaligned() };
                return true;
            }
        }
        // SAFETY: the reference is valid for as many bytes.
        unsafe { self.load_paged(offset as u32, bytes.as_mut_ptr().cast(), N as u32) }
    }

    #[inline(always)]
    fn peek<const N: usize>(&self) -> Option<[u32; N]> {
        // SAFETY: the kernel hands a program a valid context.
        let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        let start = data + self.l2_len as usize;
        if core::hint::black_box(start + 4 * N) > end {
            return None;
        }
        // SAFETY: so many words from here on are the packet's, as was just compared.
        Some(core::array::from_fn(|index| unsafe { word(start + 4 * index) }))
    }

    #[inline(always)]
    fn load_rarely_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        // SAFETY: the reference is valid for as many bytes.
        unsafe { self.load_paged(self.l2_len + offset, bytes.as_mut_ptr().cast(), N as u32) }
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
        Self::len(self)
    }
}
