//! What the kernel keeps while no daemon runs, and how a new one takes over.

use std::path::{Path, PathBuf};
use std::process::Command;

use aya::maps::MapData;
use nexa_abi::layout::{Direction, map};
use nexa_differential::craft::{end, flag, tcp};
use nexa_gateway::dataplane::{Attachment, Dataplane, INGRESS, Options};

use crate::flows::{granted, revoked};
use crate::{Answer, apply, flat, run};

/// Runs `test` on a thread with a network namespace and a bpffs of its own; both end with the thread.
pub fn apart(test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: only moves this thread into new namespaces.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "making namespaces needs root: {}", std::io::Error::last_os_error());
        let folder = tempfile::tempdir().unwrap();
        mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE);
        mount("bpf", folder.path(), "bpf", 0);
        test(&folder.path().join("nexavpn"));
        let target = c_string(folder.path());
        // SAFETY: a valid path; what is mounted there is this thread's own.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn mount(source: &str, target: &Path, kind: &str, flags: libc::c_ulong) {
    let [source, kind] = [source, kind].map(|text| std::ffi::CString::new(text).unwrap());
    let target = c_string(target);
    // SAFETY: three valid strings and no data; the mount namespace is this thread's own.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    assert_eq!(result, 0, "cannot mount: {}", std::io::Error::last_os_error());
}

fn c_string(path: &Path) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// The commands run in the thread's namespaces, which children inherit.
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn pinned(pin_dir: &Path) -> Dataplane {
    pinned_as(pin_dir, Attachment::of_kernel())
}

fn pinned_as(pin_dir: &Path, attachment: Attachment) -> Dataplane {
    let pin_dir: Option<PathBuf> = Some(pin_dir.to_owned());
    Dataplane::open(&Options { pin_dir, max_flows: 4096, attachment, ..Options::default() }).unwrap()
}

/// Filters of ours on the interface, as tc lists them.
fn filters(interface: &str) -> [usize; 2] {
    [("ingress", "nexa_ingress"), ("egress", "nexa_egress")].map(|(direction, program)| {
        let listed =
            Command::new("tc").args(["filter", "show", "dev", interface, direction]).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout);
        listed.lines().filter(|line| line.contains("direct-action") && line.contains(program)).count()
    })
}

/// Programs on the interface, as the kernel lists them.
fn attached(interface: &str) -> [usize; 2] {
    match Attachment::of_kernel() {
        Attachment::Tcx => [Direction::Ingress, Direction::Egress]
            .map(|direction| nexa_gateway::dataplane::programs_on(interface, direction).unwrap().len()),
        Attachment::Clsact => filters(interface),
    }
}

#[test]
fn policy_and_flows_outlive_the_daemon() {
    apart(|pin_dir| {
        ip("tuntap add wg0 mode tun");
        let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
        let mut first = pinned(pin_dir);
        first.attach("wg0").unwrap();
        apply(&mut first, &granted());
        assert_eq!(run(&first, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        drop(first);
        assert_eq!(attached("wg0"), [1, 1], "without a daemon the programs stay");

        let mut second = pinned(pin_dir);
        assert_eq!(attached("wg0"), [1, 1]);
        assert_eq!(
            run(&second, INGRESS, &tcp(peer, server, flag::ACK)),
            Answer::Pass,
            "before any new policy"
        );
        second.attach("wg0").unwrap();
        assert_eq!(attached("wg0"), [1, 1], "replaced, not added");
        apply(&mut second, &granted());
        let counted = flat(&second.counters().unwrap());
        let received = counted.iter().find(|(key, _)| key.ends_with("1 received packets"));
        assert_eq!(received.map(|(_, packets)| *packets), Some(2), "counters go on: {counted:?}");
        apply(&mut second, &revoked());
        assert_eq!(run(&second, INGRESS, &tcp(peer, server, flag::ACK)), Answer::Drop);
    });
}

#[test]
fn pinned_maps_of_another_layout_are_replaced_and_until_then_enforce() {
    apart(|pin_dir| {
        ip("tuntap add wg0 mode tun");
        let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
        let mut first = pinned(pin_dir);
        first.attach("wg0").unwrap();
        apply(&mut first, &granted());
        std::fs::remove_file(pin_dir.join(map::PORTS)).unwrap();
        MapData::from_pin(pin_dir.join(map::DEST)).unwrap().pin(pin_dir.join(map::PORTS)).unwrap();
        let second = pinned(pin_dir);
        assert_eq!(attached("wg0"), [1, 1], "the first program, with its maps");
        assert_eq!(run(&first, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        assert_eq!(
            run(&second, INGRESS, &tcp(peer, server, flag::SYN)),
            Answer::Drop,
            "empty maps grant nothing"
        );
        drop((first, second));

        let mut third = pinned(pin_dir);
        third.attach("wg0").unwrap();
        apply(&mut third, &granted());
        assert_eq!(run(&third, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
    });
}

#[test]
fn pinned_maps_of_another_size_are_replaced() {
    apart(|pin_dir| {
        let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
        let mut first = pinned(pin_dir);
        apply(&mut first, &granted());
        drop(first);
        let kept = pinned(pin_dir);
        assert_eq!(run(&kept, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass, "the same size");
        drop(kept);
        let pin_dir = Some(pin_dir.to_owned());
        let others = [
            Options { pin_dir: pin_dir.clone(), max_flows: 8192, ..Options::default() },
            Options { pin_dir, max_flows: 8192, max_rules: 100, ..Options::default() },
        ];
        for options in others {
            let mut resized = Dataplane::open(&options).unwrap();
            assert_eq!(run(&resized, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Drop, "empty");
            apply(&mut resized, &granted());
            assert_eq!(run(&resized, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        }
    });
}

#[test]
fn an_interface_made_anew_gets_the_programs_again() {
    apart(|pin_dir| {
        ip("tuntap add wg0 mode tun");
        let mut dataplane = pinned(pin_dir);
        dataplane.attach("wg0").unwrap();
        ip("link del wg0");
        ip("tuntap add wg0 mode tun");
        assert_eq!(attached("wg0"), [0, 0], "the pins are there, but the interface is bare");
        drop(dataplane);
        let mut dataplane = pinned(pin_dir);
        dataplane.attach("wg0").unwrap();
        assert_eq!(attached("wg0"), [1, 1]);
    });
}

#[test]
fn without_tcx_filters_outlive_the_daemon_and_are_replaced_in_place() {
    apart(|pin_dir| {
        ip("tuntap add wg0 mode tun");
        let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
        let mut first = pinned_as(pin_dir, Attachment::Clsact);
        first.attach("wg0").unwrap();
        apply(&mut first, &granted());
        assert_eq!(run(&first, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        drop(first);
        assert_eq!(filters("wg0"), [1, 1], "without a daemon the programs stay");

        let mut second = pinned_as(pin_dir, Attachment::Clsact);
        second.attach("wg0").unwrap();
        assert_eq!(filters("wg0"), [1, 1], "replaced, not added");
        assert_eq!(run(&second, INGRESS, &tcp(peer, server, flag::ACK)), Answer::Pass);
        ip("link del wg0");
        ip("tuntap add wg0 mode tun");
        assert_eq!(filters("wg0"), [0, 0]);
        second.attach("wg0").unwrap();
        assert_eq!(filters("wg0"), [1, 1]);
    });
}

#[test]
fn our_programs_come_before_those_of_others() {
    apart(|pin_dir| {
        ip("tuntap add wg0 mode tun");
        if Attachment::of_kernel() == Attachment::Clsact {
            // There is no order among links that do not exist; it must be said, not passed over.
            let refused = pinned_as(pin_dir, Attachment::Tcx).attach("wg0").unwrap_err();
            assert!(refused.to_string().contains("cannot attach"), "{refused:#}");
            return;
        }
        let mut other = Dataplane::open(&Options { max_flows: 16, ..Options::default() }).unwrap();
        other.attach("wg0").unwrap();
        let theirs = nexa_gateway::dataplane::programs_on("wg0", Direction::Ingress).unwrap();
        let mut ours = pinned(pin_dir);
        ours.attach("wg0").unwrap();
        let both = nexa_gateway::dataplane::programs_on("wg0", Direction::Ingress).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(both[1], theirs[0]);
    });
}
