//! The guard's maps. The daemon writes the first three, the program the others.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use nexa_abi::xdp_guard::{self, Config, LocalKey, MAX_LOCAL, RECEIVER_WORDS, Tables, Verdict};

#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
static LOCAL: HashMap<LocalKey, u8> = HashMap::with_max_entries(MAX_LOCAL, 0);
#[map]
static RECEIVERS: Array<u64> = Array::with_max_entries(RECEIVER_WORDS, 0);
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(xdp_guard::VERDICTS, 0);
#[map]
static BUDGET: Array<u64> = Array::with_max_entries(1, 0);

/// The maps above, as the guard asks them.
pub struct Maps;

/// How to judge.
pub fn config() -> Option<Config> {
    let config = CONFIG.get_ptr(0)?;
    // SAFETY: the map hands out a valid pointer. Volatile: the daemon may write at any time, and what was compared
    // must be what is used.
    Some(unsafe { core::ptr::read_volatile(config) })
}

/// Counts a datagram for the tunnel's port.
pub fn count(verdict: Verdict) {
    if let Some(counted) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: a valid element, and this CPU's own.
        unsafe { *counted += 1 }
    }
}

impl Tables for Maps {
    fn is_local(&self, key: &LocalKey) -> bool {
        LOCAL.get_ptr(key).is_some()
    }

    fn receivers(&self, word: u32) -> u64 {
        RECEIVERS.get(word).copied().unwrap_or(0)
    }

    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes no arguments.
        unsafe { bpf_ktime_get_ns() }
    }

    fn budget_whole_ns(&self) -> u64 {
        match BUDGET.get_ptr(0) {
            // SAFETY: the map hands out a valid pointer to an aligned word. Volatile: other CPUs write it.
            Some(at) => unsafe { core::ptr::read_volatile(at) },
            None => 0,
        }
    }

    fn set_budget_whole_ns(&self, at: u64) {
        if let Some(whole) = BUDGET.get_ptr_mut(0) {
            // SAFETY: as above; who else writes is said at the trait.
            unsafe { core::ptr::write_volatile(whole, at) }
        }
    }
}
