//! The guard on the uplink, around a client that is not ours.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::maps::MapData;
use nexa_abi::xdp_guard::map;
use nexa_gateway::config::{Host as HostSettings, XdpMode};
use nexa_gateway::xdp_guard::XdpGuard;
use nexa_tunnel::Receivers as _;
use nexa_types::{PublicKey, Revision};
use nexa_wire::gateway::FromGateway;
use nexa_wire::snapshot::Sealed;

use super::client::{Client, snapshot};
use super::daemon::{Daemon, Host};
use super::lab::{Neighbour, attach_strangers_xdp, in_namespace, run, runtime, wait_for};
use crate::fake_control::FakeControl;

const TUNNEL: &str = "192.0.2.10:51900";
const TUNNEL_V6: &str = "[2001:db8::10]:51900";

/// A control plane, a gateway's host and a client beside it, which says nothing until it is connected.
struct Rig {
    control: FakeControl,
    host: Host,
    client: Client,
}

impl Rig {
    async fn new() -> Self {
        let control = FakeControl::start().await;
        let host = Host::new(&control.address.to_string());
        let client = Client::start();
        run("ip address add 2001:db8::10/64 dev wan0 nodad");
        client.place.run("ip address add 2001:db8::21/64 dev wan0 nodad");
        Self { control, host, client }
    }

    fn start(&self, log: &str, mode: &str) -> Daemon {
        self.host.start_with(log, &["--uplink", "wan0", "--xdp-guard", mode])
    }

    /// A gateway that serves the client, and its key.
    async fn serving(&mut self, log: &str, mode: &str) -> (Daemon, PublicKey) {
        let mut daemon = self.start(log, mode);
        let mut connection = self.control.connection().await;
        let FromGateway::Hello { public_key, .. } = connection.receive().await else { panic!() };
        let sealed = Sealed::new(Revision(1), &snapshot(self.client.public_key)).unwrap();
        connection.send(sealed).await;
        let answer = connection.receive().await;
        assert_eq!(answer, FromGateway::Ack { revision: Revision(1) }, "{}", daemon.text());
        daemon.wait_for_log("the tunnel is listening");
        (daemon, public_key)
    }
}

fn settings(pin_dir: PathBuf, xdp_guard: XdpMode) -> HostSettings {
    let (interface, uplink) = ("wg0".parse().unwrap(), Some("wan0".parse().unwrap()));
    HostSettings { interface, uplink, xdp_guard, pin_dir }
}

/// What the guard counted.
fn counted(daemon: &mut Daemon, series: &str) -> u64 {
    let metrics = daemon.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}")).parse().unwrap()
}

fn dropped(daemon: &mut Daemon, reason: &str) -> u64 {
    counted(daemon, &format!("nexavpn_xdp_dropped_total{{reason=\"{reason}\"}}"))
}

fn passed(daemon: &mut Daemon) -> u64 {
    counted(daemon, "nexavpn_xdp_passed_total")
}

/// Datagrams of both families that the namespace's sockets got, or refused for want of one.
fn datagrams() -> u64 {
    let v4 = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let v4 = v4.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).unwrap();
    let v6 = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let v6 = v6.lines().filter_map(|line| line.strip_prefix("Udp6")?.split_once(char::is_whitespace));
    let v6 = v6.filter(|(name, _)| ["InDatagrams", "NoPorts", "InErrors"].contains(name));
    let v4 = v4.split(' ').take(3).map(|count| count.parse::<u64>().unwrap());
    v4.sum::<u64>() + v6.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum::<u64>()
}

/// Which XDP the uplink shows: `xdp` is native.
fn shown() -> Option<&'static str> {
    let link = run("ip link show dev wan0");
    ["xdpgeneric", "xdp"].into_iter().find(|mode| link.contains(&format!(" {mode} ")))
}

/// A message of `bytes` bytes that begins with `head`.
fn message(head: [u8; 4], bytes: usize) -> Vec<u8> {
    let mut message = vec![0; bytes];
    message.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    message
}

/// Sends each, from an unbound port.
fn send(to: &str, datagrams: &[Vec<u8>]) {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, to).unwrap();
    }
}

/// One of each kind of junk, and the reason it is refused for. No index is 0 by more than a rare chance.
fn junk() -> [(&'static str, Vec<u8>); 4] {
    [
        ("length", message([1, 0, 0, 0], 149)),
        ("message_type", message([5, 0, 0, 0], 148)),
        ("reserved", message([4, 0, 1, 0], 64)),
        ("unknown_receiver", message([4, 0, 0, 0], 1_200)),
    ]
}

fn serves_clients_and_no_junk(mode: &'static str) {
    // Generic XDP may see joined datagrams, so that too long says nothing there.
    let lengths = if mode == "native" { 149 } else { 147 };
    in_namespace(move || {
        runtime().block_on(async {
            let mut rig = Rig::new().await;
            let (mut daemon, gateway) = rig.serving("log", mode).await;
            assert_eq!(shown(), Some(if mode == "native" { "xdp" } else { "xdpgeneric" }));
            assert_eq!(counted(&mut daemon, &format!("nexavpn_xdp_mode{{mode=\"{mode}\"}}")), 1);
            assert_eq!(counted(&mut daemon, "nexavpn_xdp_receivers_checked"), 1);

            let before = datagrams();
            for (reason, datagram) in junk() {
                let datagram = if reason == "length" { message([1, 0, 0, 0], lengths) } else { datagram };
                rig.client.place.inside(|| {
                    send(TUNNEL, &vec![datagram.clone(); 40]);
                    send(TUNNEL_V6, &vec![datagram; 10]);
                });
                wait_for(reason, || dropped(&mut daemon, reason) >= 50);
                assert_eq!(dropped(&mut daemon, reason), 50, "{reason}");
            }
            assert_eq!(datagrams(), before, "none reached a socket");
            assert_eq!(passed(&mut daemon), 0);

            rig.client.connect_to(gateway);
            rig.client.wait_for_ping("100.96.0.1");
            rig.client.wait_for_ping("fd6e:7861::1");
            // Full packets, whose padding ends at the MTU, and many at once.
            rig.client.place.run("ping -n -q -f -c 2000 -l 50 -s 1392 -M do -w 10 100.96.0.1");
            let total: u64 = junk().iter().map(|(reason, _)| dropped(&mut daemon, reason)).sum();
            assert_eq!(total, 200, "nothing of the client's was refused");
            assert!(passed(&mut daemon) > 2_000);
            assert_eq!(counted(&mut daemon, "nexavpn_xdp_failures_total"), 0);
        });
    });
}

#[test]
fn clients_are_served_through_the_native_guard_and_junk_reaches_no_socket() {
    serves_clients_and_no_junk("native");
}

#[test]
fn clients_are_served_through_the_generic_guard_and_junk_reaches_no_socket() {
    serves_clients_and_no_junk("generic");
}

/// Sends one buffer that the kernel cuts into datagrams of `segment` bytes, as senders with offload do.
fn send_joined(to: &str, segment: libc::c_int, bytes: &[u8]) {
    const UDP_SEGMENT: libc::c_int = 103;
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: the value is valid for reads of the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            UDP_SEGMENT,
            (&raw const segment).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    socket.send_to(bytes, to).unwrap();
}

#[test]
fn joined_datagrams_of_honest_peers_pass_in_both_modes() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut rig = Rig::new().await;
            for (mode, fewest) in [("native", 6), ("generic", 2)] {
                let (mut daemon, _) = rig.serving(mode, mode).await;
                // A rekey under load, and a peer that goes on under a session from before a restart.
                let initiations = message([1, 0, 0, 0], 148).repeat(5);
                let behind_data = [message([4, 0, 0, 0], 1_200), message([1, 0, 0, 0], 148)].concat();
                rig.client.place.inside(|| {
                    send_joined(TUNNEL, 148, &initiations);
                    send_joined(TUNNEL, 1_200, &behind_data);
                });
                wait_for("datagrams that pass", || passed(&mut daemon) >= fewest);
                assert_eq!(dropped(&mut daemon, "length"), 0, "{mode}");
                assert_eq!(dropped(&mut daemon, "initiation_budget"), 0, "{mode}");
            }
        });
    });
}

#[test]
fn other_traffic_of_the_host_and_what_it_forwards_is_untouched() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut rig = Rig::new().await;
            let inner = Neighbour::make();
            run(&format!("ip link add lan0 type veth peer name lan0 netns {}", inner.task()));
            run("ip address add 10.9.0.1/24 dev lan0");
            run("ip link set lan0 up");
            inner.run("ip address add 10.9.0.2/24 dev lan0");
            inner.run("ip link set lan0 up");
            inner.run("ip route add default via 10.9.0.1");
            rig.client.place.run("ip route add 10.9.0.0/24 via 192.0.2.10");
            let (mut daemon, _) = rig.serving("log", "native").await;

            // To somebody else's port of the same number: looks like junk here, and is none of our business.
            let other = inner.inside(|| UdpSocket::bind("10.9.0.2:51900").unwrap());
            let own = UdpSocket::bind("192.0.2.10:51901").unwrap();
            for (socket, to) in [(&other, "10.9.0.2:51900"), (&own, "192.0.2.10:51901")] {
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let datagrams: Vec<_> = junk().map(|(_, datagram)| datagram).to_vec();
                rig.client.place.inside(|| send(to, &datagrams));
                for datagram in datagrams {
                    let mut got = [0; 2048];
                    let length = socket.recv(&mut got).unwrap_or_else(|error| panic!("{to}: {error}"));
                    assert_eq!(got[..length], datagram, "{to}");
                }
            }
            // TCP, to the port's number too.
            let listener = TcpListener::bind(TUNNEL).unwrap();
            let client = rig.client.place.inside(|| TcpStream::connect(TUNNEL).unwrap());
            let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n as u8).collect();
            let (mut server, _) = listener.accept().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    (&client).write_all(&bytes).and_then(|()| client.shutdown(std::net::Shutdown::Write))
                });
                let mut got = Vec::new();
                server.read_to_end(&mut got).unwrap();
                assert!(got == bytes);
            });
            assert!(
                rig.client.place.command("ping -n -c 1 -W 5 192.0.2.10").output().unwrap().status.success()
            );
            assert_eq!(passed(&mut daemon), 0);
            for (reason, _) in junk() {
                assert_eq!(dropped(&mut daemon, reason), 0, "{reason}");
            }
        });
    });
}

#[test]
fn a_restart_under_a_live_client_tells_the_guard_its_new_receivers_first() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut rig = Rig::new().await;
            let (mut daemon, gateway) = rig.serving("log", "native").await;
            rig.client.connect_to(gateway);
            rig.client.wait_for_ping("100.96.0.1");
            rig.host.wait_for_endpoint("192.0.2.21:");
            assert_eq!(dropped(&mut daemon, "unknown_receiver"), 0);
            daemon.kill();
            assert_eq!(shown(), Some("xdp"), "the guard outlives the daemon");
            let program = run("ip link show dev wan0");
            rig.control.answer_with(503);
            let start = Instant::now();
            let mut daemon = rig.start("log-again", "auto");
            daemon.wait_for_log("the tunnel is listening");
            assert_eq!(shown(), Some("xdp"));
            assert_ne!(run("ip link show dev wan0"), program, "another program behind the same link");
            // The session of before is nobody's now.
            rig.client.wait_for_ping("100.96.0.1");
            let recovery = start.elapsed();
            assert!(
                recovery < Duration::from_secs(8),
                "a client's own timers need 15 s; this took {recovery:?}"
            );
            assert_eq!(counted(&mut daemon, "nexavpn_xdp_receivers_checked"), 1);
            rig.client.place.inside(|| send(TUNNEL, &[message([4, 0, 0, 0], 64)]));
            wait_for("a receiver of nobody", || dropped(&mut daemon, "unknown_receiver") > 0);
        });
    });
}

#[test]
fn switched_off_the_guard_is_taken_away_and_stopped_it_judges_nothing() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut rig = Rig::new().await;
            let (daemon, _) = rig.serving("log", "auto").await;
            assert_eq!(shown(), Some("xdp"), "auto is native where the driver can");
            daemon.stop();
            assert_eq!(shown(), Some("xdp"));
            // Whoever takes the port now gets all that comes.
            let heir = UdpSocket::bind(TUNNEL).unwrap();
            heir.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            rig.client.place.inside(|| send(TUNNEL, &[b"junk".to_vec()]));
            assert_eq!(heir.recv(&mut [0; 16]).unwrap(), 4);
            drop(heir);

            let mut daemon = rig.start("generic", "generic");
            daemon.wait_for_log("the tunnel is listening");
            assert_eq!(shown(), Some("xdpgeneric"), "one of another mode makes way");
            daemon.kill();
            let mut daemon = rig.start("off", "off");
            daemon.wait_for_log("the tunnel is listening");
            assert_eq!(shown(), None);
            assert_eq!(counted(&mut daemon, "nexavpn_xdp_mode{mode=\"off\"}"), 1);
            let before = datagrams();
            rig.client.place.inside(|| send(TUNNEL, &[b"junk".to_vec()]));
            wait_for("junk at the socket", || datagrams() > before);
        });
    });
}

#[test]
fn beside_another_xdp_program_the_gateway_serves_without_a_guard_and_says_so() {
    in_namespace(|| {
        runtime().block_on(async {
            let mut rig = Rig::new().await;
            attach_strangers_xdp("wan0", &rig.host.path("bpf/theirs"));
            let shown_before = run("ip link show dev wan0");
            let (mut daemon, gateway) = rig.serving("log", "auto").await;
            assert!(daemon.text().contains("another XDP program is attached"), "{}", daemon.text());
            assert_eq!(run("ip link show dev wan0"), shown_before, "it is left alone");
            assert_eq!(counted(&mut daemon, "nexavpn_xdp_mode{mode=\"off\"}"), 1);
            rig.client.connect_to(gateway);
            rig.client.wait_for_ping("100.96.0.1");
        });
    });
}

/// Lets user space write a map of the guard on the uplink no more.
fn freeze(map: &str) {
    let shown = run("ip link show dev wan0");
    let id = shown.split("prog/xdp id ").nth(1).unwrap().split_whitespace().next().unwrap();
    let program = aya::programs::loaded_programs().flatten().find(|program| program.id().to_string() == id);
    let maps = program.unwrap().map_ids().unwrap().unwrap();
    let maps = maps.into_iter().map(|id| MapData::from_id(id).unwrap());
    let frozen = maps.filter(|data| data.info().unwrap().name_as_str() == Some(map)).map(|data| {
        const BPF_MAP_FREEZE: libc::c_long = 22;
        let fd = data.fd().as_fd().as_raw_fd();
        // SAFETY: for this command the attributes are one file descriptor.
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_FREEZE, &raw const fd, size_of_val(&fd)) }
    });
    assert_eq!(frozen.collect::<Vec<_>>(), [0], "{map}");
}

#[test]
fn a_guard_that_cannot_be_told_of_receivers_judges_by_form_and_at_last_not_at_all() {
    in_namespace(|| {
        runtime().block_on(async {
            let rig = Rig::new().await;
            let pins = rig.host.path("bpf/nexavpn");
            fs::create_dir(&pins).unwrap();
            let mut guard = XdpGuard::start(&settings(pins, XdpMode::Native));
            guard.set_local(&["192.0.2.10".parse().unwrap()]);
            guard.begin(51_900);
            guard.admit(&[7]);
            assert!(guard.checks_receivers());
            freeze(map::RECEIVERS);
            guard.admit(&[8]);
            assert!(!guard.checks_receivers() && guard.failures() == 1);
            let honest = message([4, 0, 0, 0], 32);
            let count = |guard: &XdpGuard| guard.counted().unwrap().unwrap();
            rig.client.place.inside(|| send(TUNNEL, &[honest, b"junk".to_vec()]));
            wait_for("one that passes and one that does not", || {
                let counted = count(&guard);
                counted.passed == 1 && counted.dropped.contains(&("length", 1))
            });
            freeze(map::CONFIG);
            guard.begin(51_901);
            assert_eq!((guard.mode(), guard.failures(), shown()), (None, 2, None));
        });
    });
}
