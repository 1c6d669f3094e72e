//! Ten thousand peers are greeted after a restart, each at an address of its own. What it costs is printed
//! (`--show-output`) and not judged; CPU time is that of all engines, so run it alone for that.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use nexa_tunnel::{PeerConfig, PrivateKey};

use crate::cpu::engine_cpu_seconds;
use crate::ns::Ns;
use crate::world::{World, wait_for};

const PEERS: u32 = 10_000;
/// Until timers of peers that have spoken have run out, and one look at the idle ones comes every five seconds.
const CALM: Duration = Duration::from_secs(20);

#[test]
fn ten_thousand_peers_after_a_restart_and_at_rest() {
    let world = World::new();
    let far = Ns::new(&format!("{}m", world.gateway.name()));
    world.join(&far, 1);
    // Every address of 10.66.0.0/16 is the clients' host: each client has one of its own.
    far.ip("route add local 10.66.0.0/16 dev lo");
    world.gateway.ip("route add 10.66.0.0/16 via 10.77.1.2");
    let keys: Vec<PrivateKey> = (0..PEERS).map(|_| PrivateKey::generate()).collect();
    let configs: Vec<PeerConfig> = keys.iter().zip(0..).map(|(key, n)| config(key, n)).collect();
    let places: Vec<_> = keys.iter().zip(0..).map(|(key, n)| (key.public_key(), place(n))).collect();

    let mut clients = Clients::new(&far, &keys, &world.private);
    // As after a restart: nothing but the snapshot's peers and the places on disk.
    let before = resident_kib();
    let engine = world.start();
    let start = Instant::now();
    engine.set_peers(configs).unwrap();
    let set = start.elapsed();
    println!(
        "set of {PEERS} peers: {set:?}, {:.1} KiB each",
        (resident_kib() - before) as f64 / f64::from(PEERS)
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| clients.serve(&stop));
        let (start, cpu) = (Instant::now(), engine_cpu_seconds());
        engine.restore_endpoints(places).unwrap();
        let took = wait_for("all handshakes", Duration::from_secs(60), || {
            std::thread::sleep(Duration::from_millis(45));
            engine.peers().iter().all(|peer| peer.last_handshake.is_some())
        });
        let used = engine_cpu_seconds() - cpu;
        println!(
            "{PEERS} handshakes: {took:?}, with the set {:?}; {used:.2} CPU-s of the engine, {:.1} KiB each now",
            start.elapsed() + set,
            (resident_kib() - before) as f64 / f64::from(PEERS)
        );
        stop.store(true, Ordering::Release);
        println!("clients answered {} of {} messages", serving.join().unwrap(), PEERS);
    });
    std::thread::sleep(CALM);
    let (cpu, start) = (engine_cpu_seconds(), Instant::now());
    std::thread::sleep(CALM);
    let share = (engine_cpu_seconds() - cpu) / start.elapsed().as_secs_f64();
    println!("at rest, with sessions: {:.2} % of a core", share * 100.0);
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 66, 0, 0)) + n + 1)
}

fn place(n: u32) -> SocketAddr {
    (address(n), 51820).into()
}

fn config(key: &PrivateKey, n: u32) -> PeerConfig {
    PeerConfig {
        public_key: key.public_key(),
        allowed_ips: vec![
            Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 9, 0, 0)) + n).to_string().parse().unwrap(),
        ],
        endpoint: None,
        preshared_key: None,
        persistent_keepalive: None,
    }
}

/// Clients that answer, each from an address of its own.
struct Clients {
    all: Vec<(UdpSocket, Tunn)>,
    poll: i32,
}

impl Clients {
    fn new(ns: &Ns, keys: &[PrivateKey], gateway: &PrivateKey) -> Self {
        let limit = libc::rlimit { rlim_cur: 20_000, rlim_max: 20_000 };
        // SAFETY: the limit is read during the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0, "20,000 sockets");
        // SAFETY: no pointers.
        let poll = unsafe { libc::epoll_create1(0) };
        let theirs = PublicKey::from(*gateway.public_key().as_bytes());
        let all = ns.run(|| {
            (0..)
                .zip(keys)
                .map(|(n, key)| {
                    let socket = UdpSocket::bind(place(n)).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: n.into() };
                    let fd = socket.as_raw_fd();
                    // SAFETY: both descriptors are open, and the event is read during the call.
                    unsafe { libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
                    let private = StaticSecret::from(*key.to_bytes());
                    (socket, Tunn::new(private, theirs, None, None, n, None))
                })
                .collect()
        });
        Self { all, poll }
    }

    /// Answers until told to stop; how many answers that were.
    fn serve(&mut self, stop: &AtomicBool) -> usize {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let (mut datagram, mut out, mut answers) = ([0; 2048], [0; 2048], 0);
        while !stop.load(Ordering::Acquire) {
            // SAFETY: the array has room for as many events as are asked for.
            let count = unsafe { libc::epoll_wait(self.poll, events.as_mut_ptr(), 64, 20) };
            for event in &events[..count.max(0) as usize] {
                let (socket, tunn) = &mut self.all[event.u64 as usize];
                loop {
                    let (length, from) = match socket.recv_from(&mut datagram) {
                        Ok(received) => received,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    };
                    if let TunnResult::WriteToNetwork(answer) =
                        tunn.decapsulate(None, &datagram[..length], &mut out)
                    {
                        socket.send_to(answer, from).unwrap();
                        answers += 1;
                    }
                }
            }
        }
        answers
    }
}

/// What this process has in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
