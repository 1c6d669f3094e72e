//! A daemon that is killed anywhere in an apply.
//!
//! The daemon is a fork of the test, over the same pinned maps, and the test its debugger: it counts the daemon's system
//! calls on maps, steps on from one of them for a random number of instructions, and kills it there.

use std::io;
use std::path::Path;

use fastrand::Rng;
use nexa_abi::engine::Limit;
use nexa_differential::{effort, policy, seed};
use nexa_gateway::dataplane::{Dataplane, Options};
use nexa_wire::snapshot::Snapshot;

use crate::apply;
use crate::questions::{of_kernel, of_policy, questions};
use crate::restart::apart;
use crate::swap::drift;

/// Where a daemon is killed.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// So many beginnings and ends of system calls that map and swap are passed.
    stops: u32,
    /// So many instructions after that, in which profiles are written and generations swapped through memory.
    steps: u32,
}

impl Place {
    fn random(rng: &mut Rng) -> Self {
        Self { stops: rng.u32(0..18), steps: if rng.bool() { rng.u32(0..6_000) } else { 0 } }
    }
}

fn open(pin_dir: &Path) -> Dataplane {
    let pin_dir = Some(pin_dir.to_owned());
    let options = Options { pin_dir, max_flows: 1 << 12, new_flow_limit: Limit::NONE, ..Options::default() };
    Dataplane::open(&options).unwrap()
}

/// Another policy, or the same but for one device.
fn successor(rng: &mut Rng, snapshot: &Snapshot) -> Snapshot {
    if rng.bool() { policy::snapshot(rng) } else { policy::with_one_device_changed(rng, snapshot) }
}

/// Has a fork of this process apply `snapshot`, and kills it at `place`. Returns whether it came to its end before.
fn killed_at(place: Place, dataplane: &mut Dataplane, snapshot: &Snapshot) -> bool {
    // SAFETY: the child does nothing but apply a policy, for which it takes no lock but the allocator's, which fork
    // leaves whole.
    let child = match unsafe { libc::fork() } {
        -1 => panic!("cannot fork: {}", io::Error::last_os_error()),
        0 => {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                trace(libc::PTRACE_TRACEME, 0, 0);
                // SAFETY: stops this process until its debugger goes on.
                unsafe { libc::raise(libc::SIGSTOP) };
                apply(dataplane, snapshot);
            }));
            // Its debugger asserts this status: a panic in the fork fails the test.
            // SAFETY: ends the fork without the parent's exit handlers.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
        child => child,
    };
    let mut status = wait(child);
    assert!(libc::WIFSTOPPED(status), "the fork did not stop: {status:#x}");
    trace(libc::PTRACE_SETOPTIONS, child, libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL);
    let (mut stops, mut is_of_maps) = (0, false);
    while stops < place.stops {
        trace(libc::PTRACE_SYSCALL, child, 0);
        status = wait(child);
        if has_ended(status) {
            return true;
        }
        assert!(libc::WIFSTOPPED(status), "the fork ended by itself: {status:#x}");
        // The end of a call does not say which it is.
        is_of_maps = begun_call(child).map_or(is_of_maps, |call| CALLS.contains(&call));
        stops += u32::from(is_of_maps);
    }
    for _ in 0..place.steps {
        trace(libc::PTRACE_SINGLESTEP, child, 0);
        status = wait(child);
        if has_ended(status) {
            return true;
        }
    }
    // SAFETY: a child of this process that was not waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    while !libc::WIFSIGNALED(status) {
        status = wait(child);
    }
    false
}

/// Whether a fork has come to its end, which must have been a good one.
fn has_ended(status: libc::c_int) -> bool {
    if libc::WIFEXITED(status) {
        assert_eq!(libc::WEXITSTATUS(status), 0, "the fork panicked");
        return true;
    }
    false
}

/// Calls that write to maps or wait for programs.
const CALLS: [libc::c_long; 2] = [libc::SYS_bpf, libc::SYS_membarrier];

/// The system call that a stopped child begins; none where it ends one.
fn begun_call(child: libc::pid_t) -> Option<libc::c_long> {
    let mut info = std::mem::MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let room = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: as much room as the kernel is told; zeroed, it is a valid value whatever of it the kernel writes.
    let info = unsafe {
        let written = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, child, room, info.as_mut_ptr());
        assert!(written > 0, "cannot ask what the fork does: {}", io::Error::last_os_error());
        info.assume_init()
    };
    // SAFETY: the kernel says that this is what it wrote.
    (info.op == libc::PTRACE_SYSCALL_INFO_ENTRY).then(|| unsafe { info.u.entry.nr }.cast_signed())
}

fn trace(request: libc::c_uint, child: libc::pid_t, data: libc::c_int) {
    // SAFETY: requests that take no pointer.
    let result = unsafe { libc::ptrace(request, child, 0, libc::c_long::from(data)) };
    assert_ne!(result, -1, "ptrace {request} failed: {}", io::Error::last_os_error());
}

fn wait(child: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: a child of this process and a valid place for its status.
    let waited = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
    assert_eq!(waited, child, "{}", io::Error::last_os_error());
    status
}

#[test]
fn killed_anywhere_in_an_apply_a_daemon_leaves_the_old_policy_or_the_new_one() {
    let seed = seed();
    apart(move |pin_dir| {
        let mut rng = Rng::with_seed(seed);
        let (mut olds, mut news) = (0, 0);
        for round in 0..50 * effort() {
            let mut dataplane = open(pin_dir);
            let old = policy::snapshot(&mut rng);
            apply(&mut dataplane, &old);
            assert_eq!(drift(&mut dataplane), "", "seed {seed}, round {round}: what was left is taken over");
            let new = successor(&mut rng, &old);
            let place = Place::random(&mut rng);
            let ended = killed_at(place, &mut dataplane, &new);

            let asked = questions(&mut rng, 150);
            let [before, after] = [&old, &new].map(|snapshot| of_policy(snapshot, &asked));
            let answers = of_kernel(&dataplane, &asked);
            let told = format!("seed {seed}, round {round}, {place:?}, ended {ended}");
            assert!(answers == before && !ended || answers == after, "{told}: {asked:?}\n{old:#?}\n{new:#?}");
            if before != after {
                olds += u32::from(answers == before);
                news += u32::from(answers == after);
            }
        }
        assert!(olds > 5 && news > 5, "seed {seed}: {olds} times the old policy, {news} times the new one");
    });
}
