//! Where the kernel or the way takes no batches, all goes one by one, and one line of the log says so.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc;

use crate::pair::{End, SOON, connect, pair};

/// Enough for many batches.
const BYTES: usize = 4 << 20;

/// What a process is told of a system call.
struct Refused {
    call: libc::c_long,
    /// What its second argument is then.
    second: u32,
    errno: libc::c_int,
}

const UDP_OPTIONS: Refused =
    Refused { call: libc::SYS_setsockopt, second: libc::SOL_UDP.cast_unsigned(), errno: libc::ENOPROTOOPT };
const TUN_OFFLOADS: Refused =
    Refused { call: libc::SYS_ioctl, second: libc::TUNSETOFFLOAD as u32, errno: libc::EINVAL };

/// Refuses from the program's start on.
fn refuse(command: &mut Command, refused: &Refused) {
    let step = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    // struct seccomp_data: the call's number, then, from byte 16 on, arguments of 64 bits.
    let mut filter = [
        step(load, 0, 0, 0),
        step(equal, 0, 3, refused.call as u32),
        step(load, 0, 0, 24),
        step(equal, 0, 1, refused.second),
        step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | refused.errno.cast_unsigned()),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let set = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the filter is whole and valid for the call.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec there is one system call.
    unsafe { command.pre_exec(set) };
}

/// Both ends with a session; what `a` logs is in the file.
fn connected_with(prepare: impl FnOnce(&mut Command)) -> ([End; 2], File) {
    let (mut ends, log) = (pair(), tempfile::tempfile().unwrap());
    ends[0].start_as(|command| {
        command.env("RUST_LOG", "warn").stderr(log.try_clone().unwrap());
        prepare(command);
    });
    ends[1].start();
    connect(&ends);
    (ends, log)
}

/// Sends both ways.
fn exchange([a, b]: &[End; 2]) {
    let listener = a.ns.run(|| TcpListener::bind("10.98.0.1:0").unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut near = b.ns.run(|| TcpStream::connect(address).unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    send(&mut near, &mut far);
    send(&mut far, &mut near);
}

fn send(from: &mut TcpStream, to: &mut TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(&vec![7; BYTES]).unwrap());
        let mut arrived = vec![0; BYTES];
        to.read_exact(&mut arrived).unwrap();
        assert!(arrived.iter().all(|byte| *byte == 7));
    });
}

/// What has been logged, from its beginning on.
fn lines(log: &File) -> Vec<String> {
    let path = format!("/proc/self/fd/{}", log.as_raw_fd());
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_kernel_that_refuses_batches_of_datagrams_gets_them_one_by_one() {
    let (ends, log) = connected_with(|command| refuse(command, &UDP_OPTIONS));
    exchange(&ends);
    let lines = lines(&log);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("does not handle UDP datagrams in batches"), "{lines:?}");
}

#[test]
fn a_device_that_refuses_large_packets_gets_them_one_by_one() {
    let (ends, log) = connected_with(|command| refuse(command, &TUN_OFFLOADS));
    exchange(&ends);
    let lines = lines(&log);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("no segmentation offload"), "{lines:?}");
}

#[test]
fn above_the_mtu_of_its_device_a_peer_gets_datagrams_one_by_one() {
    let (ends, log) = connected_with(|_| {});
    exchange(&ends);
    assert_eq!(lines(&log), [] as [&str; 0], "batches fit");
    for end in &ends {
        end.ns.ip(["link set eth0 mtu 1400"]).unwrap();
    }
    exchange(&ends);
    exchange(&ends);
    let lines = lines(&log);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("takes no batches"), "{lines:?}");
}

#[test]
fn datagrams_sent_together_arrive_together_as_they_were() {
    const SEGMENT: usize = 200;
    let ([a, b], log) = connected_with(|_| {});
    let to = a.ns.run(|| UdpSocket::bind("10.98.0.1:0").unwrap()).unwrap();
    let from = b.ns.run(|| UdpSocket::bind("10.98.0.2:0").unwrap()).unwrap();
    for [sender, receiver] in [[&from, &to], [&to, &from]] {
        set(sender, libc::UDP_SEGMENT, SEGMENT as libc::c_int);
        // Without it the kernel cuts what comes in one piece.
        set(receiver, libc::UDP_GRO, 1);
        receiver.set_read_timeout(Some(SOON)).unwrap();
        for count in [1, 2, 20, 64] {
            // The last one is shorter.
            let sent: Vec<u8> = (0..count * SEGMENT - 1).map(|n| (n / SEGMENT + n) as u8).collect();
            sender.send_to(&sent, receiver.local_addr().unwrap()).unwrap();
            let mut arrived = vec![0; sent.len() + 1];
            let length = receiver.recv(&mut arrived).unwrap();
            assert_eq!(arrived[..length], sent, "{count}");
        }
        set(sender, libc::UDP_SEGMENT, 0);
        set(receiver, libc::UDP_GRO, 0);
    }
    assert_eq!(lines(&log), [] as [&str; 0]);
}

fn set(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is valid for reads of the length given.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw const value).cast(), length)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
