//! Kernels that refuse calls: without batches of entries, or without memory in the middle of a policy.
//!
//! A filter of seccomp on the test's own thread answers in the kernel's place. It stays for as long as the thread does.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::TimeDelta;
use fastrand::Rng;
use nexa_abi::engine::Limit;
use nexa_differential::{effort, policy, seed};
use nexa_gateway::dataplane::{Dataplane, Options, is_overflow};
use nexa_gateway_core::{affected, lower, restrict};
use nexa_types::Generation;
use nexa_wire::snapshot::Snapshot;

use crate::questions::{of_kernel, of_policy, questions};
use crate::restart::apart;
use crate::swap::drift;

/// linux/bpf.h, `enum bpf_cmd`: BPF_MAP_{LOOKUP,UPDATE,DELETE}_BATCH.
const LOOKUP_BATCH: u32 = 24;
const UPDATE_BATCH: u32 = 26;
const DELETE_BATCH: u32 = 27;

/// What the filter answers to some of the calls of bpf(2).
const fn with_error(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error.unsigned_abs()
}

/// Answers `answer` to these commands of bpf(2) on this thread, from now on.
fn intercept(commands: &[u32], answer: u32, flags: libc::c_ulong) -> libc::c_long {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let is = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answers = (libc::BPF_RET | libc::BPF_K) as u16;
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let unless = |k| libc::sock_filter { code: is, jt: 0, jf: 1, k };
    // `struct seccomp_data`: the call's number at 0, its first argument at 16. Little-endian.
    let mut filter = vec![
        statement(load, 0),
        libc::sock_filter { code: is, jt: 1, jf: 0, k: u32::try_from(libc::SYS_bpf).unwrap() },
        statement(answers, libc::SECCOMP_RET_ALLOW),
        statement(load, 16),
    ];
    for command in commands {
        filter.extend([unless(*command), statement(answers, answer)]);
    }
    filter.push(statement(answers, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: a program that lives until the call returns; root needs no promise about new privileges.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, (&raw const program))
    };
    assert!(result >= 0, "cannot filter calls: {}", std::io::Error::last_os_error());
    result
}

/// What the kernel says where it has no memory, a hash is full, or a trie is.
const NO_ROOM: [i32; 3] = [libc::ENOMEM, libc::E2BIG, libc::ENOSPC];

/// Refuses one of this thread's writes for want of memory or room, in each way that the kernel has in turn.
struct NoMemory(Arc<AtomicU32>);

impl NoMemory {
    fn begin() -> Self {
        let left = Arc::new(AtomicU32::new(0));
        let (to_answerer, listeners) = std::sync::mpsc::channel::<OwnedFd>();
        let countdown = Arc::clone(&left);
        // Made before the filter, so that it is not held to it and outlives no one who is.
        std::thread::spawn(move || {
            let Ok(listener) = listeners.recv() else { return };
            let mut errors = NO_ROOM.into_iter().cycle();
            while answer(&listener, &countdown, &mut errors) {}
        });
        let listener =
            intercept(&[UPDATE_BATCH], libc::SECCOMP_RET_USER_NOTIF, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        // SAFETY: the call has just made it, and nobody else knows of it.
        let listener = unsafe { OwnedFd::from_raw_fd(i32::try_from(listener).unwrap()) };
        to_answerer.send(listener).unwrap();
        Self(left)
    }

    /// The write after `before` others is refused.
    fn after(&self, before: u32) {
        self.0.store(before + 1, Ordering::SeqCst);
    }

    /// Whether that many were not made. None is refused any more.
    fn end(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

/// Answers one call. False when nobody is left who could make one.
fn answer(listener: &OwnedFd, left: &AtomicU32, errors: &mut impl Iterator<Item = i32>) -> bool {
    let listener = listener.as_raw_fd();
    // SAFETY: plain integers, and the kernel wants them to be zero.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: a listener, and room for what it tells.
    if unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) } != 0 {
        return std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
    }
    let count_down = |left: u32| left.checked_sub(1);
    let is_refused = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down) == Ok(1);
    let mut reply = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: 0 };
    if is_refused && let Some(error) = errors.next() {
        reply.error = -error;
    } else {
        reply.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap();
    }
    // SAFETY: a listener, and an answer to a call that it told.
    unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut reply) == 0 }
}

fn open(pin_dir: &Path) -> Dataplane {
    let pin_dir = Some(pin_dir.to_owned());
    let options = Options { pin_dir, max_flows: 1 << 12, new_flow_limit: Limit::NONE, ..Options::default() };
    Dataplane::open(&options).unwrap()
}

fn apply(dataplane: &mut Dataplane, snapshot: &Snapshot) -> anyhow::Result<Generation> {
    let lowered = lower(snapshot, &[], policy::at()).unwrap();
    dataplane.apply(&lowered, policy::at() + TimeDelta::days(1))
}

/// Puts `next` in force with one write after the other refused, until none is left to refuse; returns how often it was
/// refused for want of room.
fn refuse_each_write(
    dataplane: &mut Dataplane,
    rng: &mut Rng,
    no_memory: &NoMemory,
    [before, next]: [&Snapshot; 2],
) -> u32 {
    let mut overflows = 0;
    for nth in 0.. {
        let asked = questions(rng, 40);
        no_memory.after(nth);
        let outcome = apply(dataplane, next);
        let is_through = no_memory.end();
        match outcome {
            Ok(_) => {
                assert!(is_through, "write {nth} was refused and nobody minded");
                assert_eq!(of_kernel(dataplane, &asked), of_policy(next, &asked));
                assert_eq!(drift(dataplane), "");
                return overflows;
            }
            Err(error) => {
                assert!(!is_through, "{error:#}");
                assert!(is_overflow(&error), "write {nth} is told as another fault: {error:#}");
                overflows += 1;
                assert_eq!(of_kernel(dataplane, &asked), of_policy(before, &asked), "write {nth}: {error:#}");
                assert_eq!(drift(dataplane), "", "write {nth}: {error:#}");
            }
        }
    }
    unreachable!("a policy takes few writes")
}

#[test]
fn without_memory_in_the_middle_the_old_policy_stays_whole_and_revocations_apply() {
    apart(|pin_dir| {
        let seed = seed();
        let mut rng = Rng::with_seed(seed);
        let no_memory = NoMemory::begin();
        let mut dataplane = open(pin_dir);
        let mut in_force = policy::snapshot(&mut rng);
        apply(&mut dataplane, &in_force).unwrap();
        let (mut overflows, mut taken) = (0, 0);
        for case in 0..20 * effort() {
            let next = policy::snapshot(&mut rng);
            let asked = questions(&mut rng, 80);
            let place = format!("seed {seed}, case {case}");

            // The first write is refused, and what it takes away is taken away.
            no_memory.after(0);
            let is_refused = apply(&mut dataplane, &next).is_err();
            no_memory.end();
            if is_refused {
                let (before, after) = (of_policy(&in_force, &asked), of_policy(&next, &asked));
                if rng.bool() {
                    in_force = restrict(&in_force, &next);
                    apply(&mut dataplane, &in_force).unwrap();
                    let left = of_kernel(&dataplane, &asked);
                    for ((left, before), after) in left.iter().zip(&before).zip(&after) {
                        assert!(!left || *before && *after, "{place}");
                        taken += u32::from(*before && !after);
                    }
                } else {
                    // One store for each device, which no memory is needed for.
                    let devices = affected(&in_force, &next);
                    no_memory.after(0);
                    dataplane.expel(&devices).unwrap();
                    no_memory.end();
                    in_force.peers.retain(|peer| !devices.contains(&peer.device));
                    apply(&mut dataplane, &in_force).unwrap();
                }
                assert_eq!(of_kernel(&dataplane, &asked), of_policy(&in_force, &asked), "{place}");
            }

            // A daemon that starts anew between two refusals finds the old policy, whole, and puts its own in force.
            if rng.bool() {
                no_memory.after(rng.u32(0..4));
                let was_refused = apply(&mut dataplane, &next).is_err();
                no_memory.end();
                drop(dataplane);
                dataplane = open(pin_dir);
                let found = if was_refused { &in_force } else { &next };
                assert_eq!(of_kernel(&dataplane, &asked), of_policy(found, &asked), "{place}");
                apply(&mut dataplane, &in_force).unwrap();
            }
            overflows += refuse_each_write(&mut dataplane, &mut rng, &no_memory, [&in_force, &next]);
            in_force = next;
        }
        assert!(
            overflows > 20 && taken > 5,
            "seed {seed}: {overflows} refused, {taken} taken; both must be seen"
        );
    });
}

#[test]
fn a_kernel_without_batches_enforces_the_same() {
    apart(|pin_dir| {
        let seed = seed();
        let mut rng = Rng::with_seed(seed);
        intercept(&[LOOKUP_BATCH, UPDATE_BATCH, DELETE_BATCH], with_error(libc::EINVAL), 0);
        let mut dataplane = open(pin_dir);
        for case in 0..20 * effort() {
            let snapshot = policy::snapshot(&mut rng);
            apply(&mut dataplane, &snapshot).unwrap();
            if rng.bool() {
                // Reads all that the one before has written.
                drop(dataplane);
                dataplane = open(pin_dir);
                apply(&mut dataplane, &snapshot).unwrap();
            }
            let asked = questions(&mut rng, 80);
            let place = format!("seed {seed}, case {case}");
            assert_eq!(of_kernel(&dataplane, &asked), of_policy(&snapshot, &asked), "{place}");
            assert_eq!(drift(&mut dataplane), "", "{place}");
        }
    });
}
