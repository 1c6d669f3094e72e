//! The word that says which generation is live, and the moments around its change.

use std::io;
use std::sync::atomic::Ordering;

use aya::maps::MapData;
use nexa_abi::layout::{State, map, state};

use super::mapping::Mapping;

/// The STATE map in this process's memory: one aligned store swaps a generation, where a map update would copy
/// bytes that a program might read half-way.
pub struct StateWord {
    memory: Mapping,
}

impl StateWord {
    /// Maps the word.
    pub fn map(data: &MapData) -> anyhow::Result<Self> {
        Ok(Self { memory: Mapping::of(map::STATE, data, state::COUNT as usize)? })
    }

    /// The generation in force.
    pub fn load(&self) -> State {
        State(self.memory.words()[state::LIVE as usize].load(Ordering::Acquire))
    }

    /// Puts a generation in force, after all that it refers to was written.
    pub fn store(&self, state: State) {
        self.memory.words()[state::LIVE as usize].store(state.0, Ordering::Release);
    }

    /// Says which set is that of what no resource covers.
    pub fn store_excluded(&self, set: u32) {
        self.memory.words()[state::EXCLUDED as usize].store(set.into(), Ordering::Release);
    }
}

/// Returns once every program that was running when this was called has ended.
///
/// The global membarrier is the kernel's synchronize_rcu(), and programs run inside an RCU read-side section.
pub fn wait_for_programs() {
    // SAFETY: the call takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        // Kernels with isolated cores refuse it. A program runs for microseconds.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// linux/membarrier.h.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// The clock that leases are kept by: it runs on in suspend and no one can set it.
pub fn boot_clock_ns() -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for writes of a timespec.
    if unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let nanoseconds = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanoseconds).map_err(io::Error::other)
}
