//! Network namespaces, TUN devices and packets for the tests that need root.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

/// Long enough for a busy machine; nobody waits for all of it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` in a network namespace of its own, never in the machine's.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root");
    // A namespace belongs to a thread; one that the harness would use again must not keep it.
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace of its own, before anything is changed");
        run("ip link set lo up");
        test();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A network namespace beside the thread's own, for as long as the value lives.
pub struct Neighbour {
    path: String,
    task: i32,
    _alive: std::sync::mpsc::Sender<()>,
}

impl Neighbour {
    /// Makes the namespace, its loopback up.
    pub fn make() -> Self {
        let (alive, end) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip link set lo up");
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            // The namespace ends with its last thread.
            let _ = end.recv();
        });
        let task = told.recv().unwrap();
        Self { path: format!("/proc/{}/task/{task}/ns/net", std::process::id()), task, _alive: alive }
    }

    /// A thread in it, as `ip link … netns` takes it.
    pub fn task(&self) -> i32 {
        self.task
    }

    /// A command that runs in it.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path)).args(words.split_whitespace());
        command
    }

    /// Does something on a thread in it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(&self.path).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Runs a command in it; it must succeed.
    pub fn run(&self, words: &str) -> String {
        run(&format!("nsenter --net={} {words}", self.path))
    }
}

/// A tokio runtime whose threads are in the calling thread's namespace.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Attaches an XDP program of somebody else, one that passes everything, to `interface`. `pin` is on a bpffs.
pub fn attach_strangers_xdp(interface: &str, pin: &Path) {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_OBJ_PIN: libc::c_long = 6;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    // r0 = XDP_PASS; exit
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let license = c"GPL";
    // Of `union bpf_attr` what the two commands read; the rest is as if it were zero.
    let load =
        [u64::from(BPF_PROG_TYPE_XDP) | 2 << 32, instructions.as_ptr() as u64, license.as_ptr() as u64];
    // SAFETY: three words as the command takes them; what they point to lives through the call.
    let program = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of_val(&load)) };
    assert!(program >= 0, "{}", std::io::Error::last_os_error());
    let path = std::ffi::CString::new(pin.as_os_str().as_encoded_bytes()).unwrap();
    let pin_it = [path.as_ptr() as u64, program as u64];
    // SAFETY: as above.
    let pinned =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const pin_it, size_of_val(&pin_it)) };
    assert_eq!(pinned, 0, "{}", std::io::Error::last_os_error());
    run(&format!("ip link set dev {interface} xdp pinned {}", pin.display()));
    // SAFETY: the descriptor is this function's own; pin and interface hold the program.
    unsafe { libc::close(program as i32) };
}

/// Runs a command of words; it must succeed.
pub fn run(words: &str) -> String {
    let (success, text) = try_run(words);
    assert!(success, "`{words}`: {text}");
    text
}

/// Runs a command of words; returns whether it succeeded, and its output with its errors.
pub fn try_run(words: &str) -> (bool, String) {
    let mut words = words.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Feeds a script to nft.
pub fn nft(script: &str) {
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{script}");
}

/// Waits until `condition` holds.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The far side of an interface: what is written arrives on the interface, what the host sends there is read.
pub struct Wire {
    file: File,
}

impl Wire {
    /// Makes a TUN interface in the thread's namespace. It is down.
    pub fn make(name: &str) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .unwrap();
        // SAFETY: an all-zero ifreq is a valid one, without a name.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
        Self { file }
    }

    /// As [`Self::make`], up and with addresses.
    pub fn up(name: &str, addresses: &[&str]) -> Self {
        let wire = Self::make(name);
        run(&format!("sysctl -qw net.ipv6.conf.{name}.addr_gen_mode=1"));
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            run(&format!("ip address add {address} dev {name} {nodad}"));
        }
        run(&format!("ip link set {name} up"));
        wire
    }

    /// Lets a packet arrive.
    pub fn send(&mut self, packet: &[u8]) {
        self.file.write_all(packet).unwrap();
    }

    /// The next packet that `wanted` likes, others are passed over; `None` once nothing came for `limit`.
    pub fn receive(&mut self, limit: Duration, wanted: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.receive_bytes(left)?;
            if let Some(packet) = Packet::read(&bytes).filter(|packet| wanted(packet)) {
                return Some(packet);
            }
        }
    }

    /// The next packet, as it is; `None` once nothing came for `limit`.
    pub fn receive_bytes(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 65536];
        loop {
            match self.file.read(&mut buffer) {
                Ok(length) => return Some(buffer[..length].to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
                    poll(&mut ready, PollTimeout::try_from(left).unwrap()).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What tests look at in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    /// For ICMP type and code.
    pub destination_port: u16,
}

pub const UDP: u8 = 17;

impl Packet {
    pub fn udp(source: &str, destination: &str, source_port: u16, destination_port: u16) -> Self {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Self { source, destination, protocol: UDP, source_port, destination_port }
    }

    /// The answer to it.
    pub fn reply(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        match bytes.first()? >> 4 {
            4 => Some(Self {
                source: IpAddr::from(<[u8; 4]>::try_from(bytes.get(12..16)?).ok()?),
                destination: IpAddr::from(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?),
                protocol: bytes[9],
                source_port: port(20)?,
                destination_port: port(22)?,
            }),
            6 => Some(Self {
                source: IpAddr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?),
                destination: IpAddr::from(<[u8; 16]>::try_from(bytes.get(24..40)?).ok()?),
                protocol: bytes[6],
                source_port: port(40)?,
                destination_port: port(42)?,
            }),
            _ => None,
        }
    }

    /// As bytes, with eight bytes of content and right checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let mut payload = [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()].concat();
        payload.extend([0, 16, 0, 0]);
        payload.extend(*b"nexavpn!");
        let mut pseudo = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
            _ => panic!("one family"),
        };
        pseudo.extend([0, self.protocol, 0, 16]);
        pseudo.extend(&payload);
        let sum = checksum(&pseudo);
        payload[6..8].copy_from_slice(&sum);
        let mut packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, self.protocol, 0, 0];
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum);
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 16, self.protocol, 64];
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            _ => panic!("one family"),
        };
        packet.extend(payload);
        packet
    }
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
