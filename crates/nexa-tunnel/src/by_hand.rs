//! A clock that tests set by hand, each thread its own: boringtun reads the system's, and rekeys after two minutes.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static NOW: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Stops the clocks of this thread that only go forward, and moves them by `by` if they stand already.
pub(crate) fn advance(by: Duration) {
    NOW.set(Some(NOW.get().map_or(Duration::from_secs(1_000_000), |now| now + by)));
}

/// In place of the C library's, for all of this test program. Threads that set no clock get the system's.
///
/// # Safety
/// As of the C library's: `to` is valid for writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, to: *mut libc::timespec) -> libc::c_int {
    let by_hand = match clock {
        libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME => NOW.get(),
        _ => None,
    };
    // SAFETY: the caller's promise, handed on.
    unsafe {
        let Some(now) = by_hand else {
            return libc::syscall(libc::SYS_clock_gettime, clock, to) as libc::c_int;
        };
        to.write(libc::timespec {
            tv_sec: now.as_secs() as libc::time_t,
            tv_nsec: now.subsec_nanos().into(),
        });
    }
    0
}
