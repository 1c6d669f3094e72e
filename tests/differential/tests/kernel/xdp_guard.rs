//! The guard on the uplink: the program says of each frame what the function says on the host, and counts it.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::{TestRun as _, TestRunOptions};
use nexa_abi::xdp_guard::{CHECK_RECEIVERS, Config, JOINED, LocalKey, Tables, Verdict, judge};
use nexa_abi::xdp_guard::{VERDICTS, receiver_position};
use nexa_differential::{effort, seed};
use nexa_gateway::xdp_guard::{Mode, Options, Program};

const PORT: u16 = 51_900;
const UNLIMITED: Options = Options { initiations_per_second: 0, initiation_burst: 0 };

/// What the maps hold, on the host. Without a limit nobody asks for time or budget.
struct Host {
    local: Vec<LocalKey>,
    receivers: HashSet<u32>,
    budget: Cell<u64>,
}

impl Tables for Host {
    fn is_local(&self, key: &LocalKey) -> bool {
        self.local.contains(key)
    }

    fn receivers(&self, word: u32) -> u64 {
        let positions = self.receivers.iter().map(|prefix| receiver_position(*prefix));
        positions.filter(|(of, _)| *of == word).fold(0, |bits, (_, bit)| bits | bit)
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn budget_whole_ns(&self) -> u64 {
        self.budget.get()
    }

    fn set_budget_whole_ns(&self, at: u64) {
        self.budget.set(at);
    }
}

fn local() -> [IpAddr; 2] {
    ["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()]
}

fn load(options: &Options) -> Program {
    let mut program =
        Program::load(options).expect("loading programs needs root, or CAP_BPF and CAP_NET_ADMIN");
    program.set_local(&[], &local()).unwrap();
    program
}

/// Whether the program drops the frame.
fn drops(program: &Program, frame: &[u8]) -> bool {
    let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
    let run = || program.xdp()?.test_run(options).context("BPF_PROG_TEST_RUN failed");
    match run().unwrap().return_value {
        1 => true,
        2 => false,
        other => panic!("the guard answered {other}"),
    }
}

/// A frame that is near to one that the guard judges: most are right but for one thing.
struct Maker {
    rng: fastrand::Rng,
    receivers: Vec<u32>,
}

impl Maker {
    fn frame(&mut self) -> Vec<u8> {
        let payload = self.udp();
        let mut frame = if self.rng.bool() { self.v4(&payload) } else { self.v6(&payload) };
        if self.one_in(6) {
            let tag: [u8; 2] = self.pick(&[[0x81, 0x00], [0x88, 0xa8]]);
            frame.splice(12..12, [tag[0], tag[1], 0, 7]);
        }
        if self.one_in(8) {
            let at = self.rng.usize(..frame.len().min(80));
            frame[at] = self.rng.u8(..);
        }
        if self.one_in(12) {
            // The kernel refuses to run a frame without a whole Ethernet header.
            frame.truncate(self.rng.usize(14..=frame.len()));
        } else if self.one_in(8) {
            frame.resize(frame.len() + self.rng.usize(..40), 0);
        }
        frame
    }

    fn udp(&mut self) -> Vec<u8> {
        let message = self.message();
        let length = u16::try_from(message.len() + 8).unwrap().to_be_bytes();
        let port = if self.one_in(10) { self.rng.u16(..) } else { PORT };
        [&[0x9c, 0x40][..], &port.to_be_bytes(), &length, &[0, 0], &message].concat()
    }

    fn message(&mut self) -> Vec<u8> {
        let kind = if self.one_in(10) { self.rng.u8(..) } else { self.rng.u8(1..=4) };
        let right = [148, 92, 64, 32][usize::from(kind.wrapping_sub(1) & 3)];
        let bytes = match self.rng.u8(..10) {
            0 => self.rng.usize(..1_400),
            1 => right + self.rng.usize(..3),
            2 => right - self.rng.usize(..3),
            3 => self.rng.usize(..=32),
            _ if kind == 4 => self.rng.usize(32..1_400),
            _ => right,
        };
        let mut message: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..)).take(bytes).collect();
        let reserved = if self.one_in(10) { self.rng.u8(..) } else { 0 };
        let index = if self.one_in(3) { self.rng.u32(..) } else { self.pick(&self.receivers.clone()) << 8 };
        let index = (index | u32::from(self.rng.u8(..))).to_le_bytes();
        for (at, part) in [(0, [kind, 0, 0, reserved]), (4, index), (8, index)] {
            message.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = from);
        }
        if bytes >= 180 && self.one_in(3) {
            message[bytes - 148..][..4].copy_from_slice(&[1, 0, 0, 0]);
        }
        message
    }

    fn v4(&mut self, payload: &[u8]) -> Vec<u8> {
        let options = if self.one_in(5) { 4 * self.rng.usize(1..=10) } else { 0 };
        let total = u16::try_from(20 + options + payload.len()).unwrap().to_be_bytes();
        let words = u8::try_from(5 + options / 4).unwrap();
        let fragment = if self.one_in(12) { self.rng.u16(..0x4000) } else { 0x4000 }.to_be_bytes();
        let to = if self.one_in(10) { [192, 0, 2, 11] } else { [192, 0, 2, 10] };
        let start = [0x40 | words, 0, total[0], total[1], 0, 0, fragment[0], fragment[1], 64, 17, 0, 0];
        let options = vec![1; options];
        [&[2; 12][..], &[0x08, 0x00], &start, &[198, 51, 100, 7], &to, &options, payload].concat()
    }

    fn v6(&mut self, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let next = if self.one_in(10) { self.pick(&[0, 43, 44, 60, 6]) } else { 17 };
        let mut addresses = [0x20; 32];
        let IpAddr::V6(to) = local()[1] else { unreachable!() };
        addresses[16..].copy_from_slice(&to.octets());
        addresses[31] ^= u8::from(self.one_in(10));
        let start = [0x60, 0, 0, 0, length[0], length[1], next, 64];
        [&[2; 12][..], &[0x86, 0xdd], &start, &addresses, payload].concat()
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(..of.len())]
    }
}

#[test]
fn the_guard_in_the_kernel_judges_as_on_the_host_and_counts_what_it_judged() {
    let seed = seed();
    let mut seen = [0_u64; VERDICTS as usize];
    for (round, (mode, check)) in
        [(Mode::Native, true), (Mode::Generic, true), (Mode::Native, false), (Mode::Generic, false)]
            .into_iter()
            .enumerate()
    {
        let mut rng = fastrand::Rng::with_seed(seed ^ round as u64);
        let receivers: Vec<u32> = std::iter::repeat_with(|| rng.u32(..1 << 24)).take(200).collect();
        let mut program = load(&UNLIMITED);
        // What is taken back is unknown again.
        program.set_receivers(&receivers, true).unwrap();
        program.set_receivers(&receivers[100..], false).unwrap();
        program.configure(PORT, mode, check).unwrap();
        let flags = if check { CHECK_RECEIVERS } else { 0 } | if mode == Mode::Generic { JOINED } else { 0 };
        let config = Config { port: PORT.to_be_bytes(), flags, ..Config::default() };
        let host = Host {
            local: local().map(LocalKey::new).to_vec(),
            receivers: receivers[..100].iter().copied().collect(),
            budget: Cell::new(0),
        };
        let mut maker = Maker { rng, receivers };
        let mut tally = [0_u64; VERDICTS as usize];
        for number in 0..8_000 * effort() {
            let frame = maker.frame();
            let verdict = judge(&frame[..], &config, &host);
            assert_eq!(
                drops(&program, &frame),
                verdict.is_drop(),
                "seed {seed}, {mode:?} {check} {number}: {verdict:?} {frame:02x?}"
            );
            tally[verdict as usize] += 1;
        }
        let counted = program.counted().unwrap();
        assert_eq!(counted.passed, tally[Verdict::Passed as usize], "seed {seed}, round {round}");
        for (verdict, (reason, count)) in Verdict::DROPS.iter().zip(counted.dropped) {
            assert_eq!((verdict.as_str(), tally[*verdict as usize]), (reason, count), "seed {seed}, {round}");
        }
        seen.iter_mut().zip(tally).for_each(|(seen, tally)| *seen += tally);
    }
    for verdict in [Verdict::NotOurs, Verdict::Passed].iter().chain(&Verdict::DROPS[..4]) {
        assert!(seen[*verdict as usize] > 300, "seed {seed}: too little of {verdict:?} in {seen:?}");
    }
}

fn initiation() -> Vec<u8> {
    let mut message = vec![0; 148];
    message[0] = 1;
    datagram(&message)
}

fn data(prefix: u32) -> Vec<u8> {
    let mut message = vec![0; 32];
    message[0] = 4;
    message[4..8].copy_from_slice(&(prefix << 8 | 3).to_le_bytes());
    datagram(&message)
}

fn datagram(message: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(message.len() + more).unwrap().to_be_bytes();
    let ([a, b], udp) = (length(28), length(8));
    let ip = [0x45, 0, a, b, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10];
    [&[2; 12][..], &[0x08, 0x00], &ip, &[0x9c, 0x40], &PORT.to_be_bytes(), &udp, &[0, 0], message].concat()
}

#[test]
fn initiations_beyond_the_budget_are_dropped_and_data_is_not() {
    // One a second: few come back while the test runs.
    let mut program = load(&Options { initiations_per_second: 1, initiation_burst: 1_000 });
    program.set_receivers(&[7], true).unwrap();
    program.configure(PORT, Mode::Native, true).unwrap();
    let passed = (0..1_500).filter(|_| !drops(&program, &initiation())).count();
    assert!((1_000..1_100).contains(&passed), "{passed} of a burst of 1,000");
    assert!(drops(&program, &initiation()) && !drops(&program, &data(7)));
    let counted = program.counted().unwrap();
    assert_eq!(counted.passed, passed as u64 + 1);
    assert!(counted.dropped.contains(&("initiation_budget", 1_501 - passed as u64)), "{counted:?}");
}

#[test]
fn a_spent_budget_comes_back_with_time() {
    let mut program = load(&Options { initiations_per_second: 20, initiation_burst: 1 });
    program.configure(PORT, Mode::Native, false).unwrap();
    let start = Instant::now();
    let wait_until = |dropped| {
        while drops(&program, &initiation()) != dropped {
            assert!(start.elapsed() < Duration::from_secs(30), "none is dropped, or all are");
        }
    };
    for dropped in [true, false, true] {
        wait_until(dropped);
    }
}

#[test]
fn a_guard_that_is_told_nothing_or_no_port_passes_everything() {
    let mut program = load(&Options::default());
    let junk = datagram(b"junk");
    assert!(!drops(&program, &junk));
    program.configure(PORT, Mode::Native, true).unwrap();
    assert!(drops(&program, &junk) && drops(&program, &data(7)));
    program.configure(PORT, Mode::Native, false).unwrap();
    assert!(drops(&program, &junk) && !drops(&program, &data(7)));
    program.configure(0, Mode::Native, true).unwrap();
    assert!(!drops(&program, &junk) && !drops(&program, &data(7)));
}
