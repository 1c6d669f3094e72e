//! The word that says which generation is live, and the moments around its change.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use aya::maps::MapData;
use nexa_abi::layout::State;

/// The STATE map in this process's memory: one aligned store swaps a generation, where a map update would copy
/// bytes that a program might read half-way.
pub struct StateWord {
    word: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to the value alone and is only touched atomically.
unsafe impl Send for StateWord {}
// SAFETY: as above.
unsafe impl Sync for StateWord {}

const MAP_BYTES: usize = size_of::<u64>();

impl StateWord {
    /// Maps the word.
    pub fn map(data: &MapData) -> anyhow::Result<Self> {
        // SAFETY: a fresh mapping of a file descriptor that lives through the call; the kernel rounds the length up
        // to a page and checks that the map allows it.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                MAP_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("cannot map the STATE map into memory");
        }
        let word = NonNull::new(address.cast()).context("the STATE map was mapped at address 0")?;
        Ok(Self { word })
    }

    /// The generation in force.
    pub fn load(&self) -> State {
        State(self.atomic().load(Ordering::Acquire))
    }

    /// Puts a generation in force. All that it refers to was written by system calls, which order memory.
    pub fn store(&self, state: State) {
        self.atomic().store(state.0, Ordering::Release);
    }

    const fn atomic(&self) -> &AtomicU64 {
        // SAFETY: the mapping is page-aligned, holds at least eight bytes and lives as long as the value.
        unsafe { self.word.as_ref() }
    }
}

impl Drop for StateWord {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody else holds the address.
        unsafe { libc::munmap(self.word.as_ptr().cast(), MAP_BYTES) };
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
