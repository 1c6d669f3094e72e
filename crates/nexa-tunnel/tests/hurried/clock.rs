//! The clocks of this process. What sleeps in the kernel sleeps as long as ever, so waits with a limit are cut.

/// How many times as fast they run.
pub const SPEED: i64 = 10;

/// In place of the C library's: the clocks that only go forward run fast; the date is the system's.
///
/// # Safety
/// As of the C library's: `to` is valid for writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, to: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        let result = libc::syscall(libc::SYS_clock_gettime, clock, to) as libc::c_int;
        if result == 0 && matches!(clock, libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME) {
            let nanos = ((*to).tv_sec * 1_000_000_000 + (*to).tv_nsec) * SPEED;
            ((*to).tv_sec, (*to).tv_nsec) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        }
        result
    }
}

/// In place of the C library's: a wait of so long by the fast clock.
///
/// # Safety
/// As of the C library's: `events` is valid for writes of `most` events.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    poll: libc::c_int,
    events: *mut libc::epoll_event,
    most: libc::c_int,
    millis: libc::c_int,
) -> libc::c_int {
    let speed = SPEED as libc::c_int;
    let millis = if millis > 0 { (millis + speed - 1) / speed } else { millis };
    let no_mask = std::ptr::null::<libc::sigset_t>();
    // SAFETY: the caller's promise, handed on.
    unsafe { libc::syscall(libc::SYS_epoll_pwait, poll, events, most, millis, no_mask, 8) as libc::c_int }
}

#[test]
fn the_clock_of_this_program_runs_fast() {
    let (fast, date) = (std::time::Instant::now(), std::time::SystemTime::now());
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (fast, date) = (fast.elapsed(), date.elapsed().unwrap());
    // Both are read one after the other, and the scheduler may come between.
    assert!(fast > date * (SPEED as u32 / 2), "{fast:?} of {date:?}");
}
