//! New policies under load, on a real interface: what is never granted never passes, and what always is is never lost.
//!
//! Frames come in as if the interface had received them (`BPF_F_TEST_XDP_LIVE_FRAMES`), through no queue that could lose
//! some. Behind the program on it nft counts: it sees what passed, and nothing else.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use aya::programs::{TestRunAttrs, Xdp};
use aya::{TestRun as _, TestRunOptions};
use nexa_abi::engine::Limit;
use nexa_differential::craft::{end, udp};
use nexa_differential::{effort, seed};
use nexa_gateway::dataplane::{Dataplane, Options};
use nexa_gateway::xdp_guard;
use nexa_types::{DeviceId, PublicKey, ResourceId, RuleId};
use nexa_wire::snapshot::{Effect, Resource, Rule, Snapshot, Subject, Target};
use uuid::Uuid;

use crate::apply;
use crate::flows::granted;
use crate::restart::{apart, ip};

const GENERATIONS: usize = 1_000;
const LEAST_PER_SECOND: f64 = 50_000.0;

/// Frames of one run in the kernel, and how many of them arrive together. After each run the kernel waits for a grace
/// period, so senders take turns, and their number bounds the load.
const RUN: u32 = 1_024;
const BATCH: u32 = 64;

/// What becomes of a frame, over all generations.
#[derive(Clone, Copy)]
enum Fate {
    Always = 0,
    Never = 1,
    /// Under every other generation.
    Sometimes = 2,
}

/// Frames sent, by [`Fate`].
type Sent = [AtomicU64; 3];

/// As nft counts them; the chain takes them away, so that nothing answers.
const COUNTERS: &str = "table inet seen {
    counter always {}
    counter never {}
    counter sometimes {}
    chain prerouting {
        type filter hook prerouting priority raw; policy accept;
        ip saddr != 100.96.0.2 counter name never drop
        ip daddr { 10.20.1.10, 10.20.2.10 } counter name never drop
        ip6 daddr fd20:0:0:1::10 counter name never drop
        ip daddr 10.20.0.10 counter name always drop
        ip6 daddr fd20::10 counter name always drop
        ip daddr 10.30.0.10 counter name sometimes drop
    }
}";

/// Conversations over UDP port 53, each from some ports.
const CONVERSATIONS: [(Fate, &str, &str); 8] = [
    (Fate::Always, "100.96.0.2", "10.20.0.10"),
    (Fate::Always, "fd6e:7861::2", "fd20::10"),
    (Fate::Never, "100.96.0.2", "10.20.1.10"),
    (Fate::Never, "100.96.0.2", "10.20.2.10"),
    (Fate::Never, "fd6e:7861::2", "fd20:0:0:1::10"),
    (Fate::Never, "100.96.0.3", "10.20.0.10"),
    (Fate::Never, "100.96.0.77", "10.20.0.10"),
    (Fate::Sometimes, "100.96.0.2", "10.30.0.10"),
];

/// A packet on Ethernet, for the interface.
fn frame(mut packet: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if packet[0] >> 4 == 4 {
        frame.extend([0x08, 0x00]);
        let sum =
            packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
        let folded = (sum & 0xffff) + (sum >> 16);
        packet[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    } else {
        frame.extend([0x86, 0xdd]);
    }
    frame.extend(packet);
    frame
}

/// The grants that never change, one that comes and goes, and others around them that change all the time.
fn generation(number: usize, rng: &mut fastrand::Rng) -> Snapshot {
    let mut snapshot = granted();
    let mut add = |id: u32, effect, cidrs: &[String], who: Subject| {
        let resource = Resource {
            id: ResourceId(Uuid::from_u128(id.into())),
            name: format!("resource-{id}"),
            cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
            ..snapshot.resources[0].clone()
        };
        let what = vec![Target::Resource(resource.id)];
        snapshot.resources.push(resource);
        snapshot.rules.push(Rule {
            id: RuleId(id),
            effect,
            who: vec![who],
            what,
            ..snapshot.rules[0].clone()
        });
    };
    let device = Subject::Device(DeviceId(Uuid::from_u128(1)));
    // A deny that a wider allow surrounds.
    add(8, Effect::Allow, &["10.20.2.0/23".to_owned()], device);

    add(9, Effect::Deny, &["10.20.2.0/24".to_owned()], Subject::Everyone);
    if number.is_multiple_of(2) {
        add(10, Effect::Allow, &["10.30.0.0/24".to_owned()], device);
    }
    for id in 20..20 + rng.u32(0..6) {
        let effect = if rng.u8(0..4) == 0 { Effect::Deny } else { Effect::Allow };
        let who = if rng.bool() { Subject::Everyone } else { device };
        let cidrs: Vec<_> = (0..rng.u8(1..5)).map(|_| format!("10.40.{}.0/24", rng.u8(..))).collect();
        add(id, effect, &cidrs, who);
    }
    for host in 10..10 + rng.u8(0..5) {
        let mut peer = snapshot.peers[1].clone();
        peer.device = DeviceId(Uuid::from_u128(host.into()));
        peer.public_key = PublicKey::from_bytes([host; 32]).unwrap();
        peer.v4 = format!("100.96.1.{host}").parse().unwrap();
        peer.v6 = format!("fd6e:7861::1:{host}").parse().unwrap();
        snapshot.peers.push(peer);
    }
    snapshot
}

/// Lets frames of a conversation come in on an interface until told to stop.
fn inject(
    program: &Xdp,
    interface: u32,
    (fate, from, to): (Fate, &str, &str),
    sent: &Sent,
    stop: &AtomicBool,
) {
    for port in (40_000..40_004).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
        let frame = frame(udp(end(from, port), end(to, 53)));
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, u32::try_from(frame.len()).unwrap(), 0, interface, 0, 0];
        let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: RUN,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        program.test_run(options).unwrap();
        sent[fate as usize].fetch_add(RUN.into(), Ordering::Relaxed);
    }
}

/// Lets senders stop also when the test fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A program that passes all that is not for a tunnel, under which frames come in.
fn passing() -> xdp_guard::Program {
    let unlimited = xdp_guard::Options { initiations_per_second: 0, initiation_burst: 0 };
    xdp_guard::Program::load(&unlimited).unwrap()
}

fn index_of(interface: &str) -> u32 {
    let name = std::ffi::CString::new(interface).unwrap();
    // SAFETY: a valid string.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

fn nft(script: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{script}");
}

/// Packets behind the program, by [`Fate`].
fn seen() -> [u64; 3] {
    ["always", "never", "sometimes"].map(|name| {
        let output = Command::new("nft").args(["list", "counter", "inet", "seen", name]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap_or_else(|| panic!("no count in {text}")).parse().unwrap()
    })
}

#[test]
fn a_thousand_policies_under_load_let_nothing_through_and_lose_nothing() {
    apart(|_| {
        let seed = seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        ip("link add near0 type veth peer name far0");
        ip("link set near0 address 02:00:00:00:00:01");
        let options =
            Options { l2_len: 14, max_flows: 4096, new_flow_limit: Limit::NONE, ..Options::default() };
        let mut dataplane = Dataplane::open(&options).unwrap();
        dataplane.attach("near0").unwrap();
        ip("link set far0 up");
        ip("link set near0 up");
        nft(COUNTERS);
        apply(&mut dataplane, &generation(0, &mut rng));

        let (passing, interface) = (passing(), index_of("near0"));
        let xdp = passing.xdp().unwrap();
        let (sent, stop) = (Sent::default(), AtomicBool::new(false));
        let start = Instant::now();
        thread::scope(|scope| {
            let (sent, stop) = (&sent, &stop);
            let send = |conversation| scope.spawn(move || inject(xdp, interface, conversation, sent, stop));
            let senders = CONVERSATIONS.map(send);
            let _stop = AtEnd(stop);
            for number in 1..GENERATIONS * effort() {
                apply(&mut dataplane, &generation(number, &mut rng));
                dataplane.remove_retired().unwrap();
                assert!(
                    senders.iter().all(|sender| !sender.is_finished()),
                    "seed {seed}: one stopped sending"
                );
            }
        });
        let elapsed = start.elapsed();

        let [always, never, sometimes] = sent.map(AtomicU64::into_inner);
        let [always_seen, never_seen, sometimes_seen] = seen();
        assert_eq!(never_seen, 0, "seed {seed}: of {never} that no policy grants");
        assert_eq!(always_seen, always, "seed {seed}: all policies grant these");
        assert!(
            sometimes_seen > 0 && sometimes_seen < sometimes,
            "seed {seed}: {sometimes_seen} of {sometimes}; the counters see what passes"
        );
        let rate = (always + never + sometimes) as f64 / elapsed.as_secs_f64();
        assert!(rate >= LEAST_PER_SECOND, "seed {seed}: only {rate:.0} packets a second are no load");
        // Past the harness, which shows what a test prints only if it fails.
        let _ = writeln!(
            std::io::stderr(),
            "seed {seed}: {GENERATIONS} policies under {rate:.0} packets a second: 0 of {never} denied passed, 0 of {always} \
             allowed lost"
        );
    });
}
