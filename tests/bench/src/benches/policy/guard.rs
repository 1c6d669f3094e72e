//! The XDP guard beside a program of TC that drops the same frames.
//!
//! Frames are sent into one end of a veth and received at the other by its driver, where the guard runs natively; for
//! TC the driver makes a packet of each first. The floor under both is a program that drops every frame unread in the
//! place of the guard: what it costs to have frames there.

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{TcAttachType, xdp::XdpMode};
use nexa_gateway::xdp_guard::{Mode, Options, Program};
use nix::libc;

use super::{
    bed::Bed,
    frame::{BYTES, Frame, L2_BYTES, MAC},
    inject::{Action, Counter, Flows, Injector},
    place::{IN, PEER, Place},
};
use crate::interleave::{self, Better, Case, Metric, Plain, Rounds, Series};

/// Frames of a sample.
const COUNT: u32 = 400_000;
/// Prepared frames of a kind, each another.
const PREPARED: usize = 100_000;
/// The tunnel's port, and the address it is served on.
const PORT: u16 = 51_900;
const LOCAL: [u8; 4] = [192, 0, 2, 10];
/// Receiver indexes begin with one of these: none of those that frames carry.
const KNOWN: std::ops::Range<u32> = 0..10_000;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Junk {
    /// Of a type that no message has.
    Malformed,
    /// Right by form, to a receiver that nobody is.
    Unknown,
}

/// Where it is sent.
pub(super) struct Scene {
    native: Place,
    program: Program,
    bare: Place,
    discarding: Counter,
    tc: Place,
    counter: Counter,
    /// Of each kind of junk: thrown away at once, and sent.
    thrown: Injector,
    malformed: Injector,
    unknown: Injector,
}

impl Scene {
    /// Makes both places.
    pub(super) fn new(bed: &Bed<'_>) -> Result<Self> {
        let native = bed.place("xdp")?;
        let mut program = Program::load(&Options::default())?;
        program.configure(PORT, Mode::Native, true)?;
        program.set_local(&[], &[LOCAL.into()])?;
        program.set_receivers(&KNOWN.collect::<Vec<_>>(), true)?;
        native
            .namespace
            .run(|| program.xdp_mut()?.attach(IN, XdpMode::Driver).context("no native XDP"))??;
        let bare = bed.place("bare")?;
        let discarding = bare.namespace.run(|| Counter::discard(IN))??;
        let tc = bed.place("tc")?;
        let counter = tc.namespace.run(|| {
            enable_gro(IN)?;
            Counter::end(IN, TcAttachType::Ingress)
        })??;
        Ok(Self {
            native,
            program,
            bare,
            discarding,
            tc,
            counter,
            thrown: Injector::new(&frames(Junk::Malformed), Action::Drop, Flows::Repeat)?,
            malformed: Injector::new(&frames(Junk::Malformed), Action::Transmit, Flows::Repeat)?,
            unknown: Injector::new(&frames(Junk::Unknown), Action::Transmit, Flows::Repeat)?,
        })
    }

    fn injecting(&self) -> Result<f64> {
        self.tc.inject_at(PEER, &self.thrown, COUNT)
    }

    fn discarded(&self) -> Result<f64> {
        all_counted(|| self.discarding.packets(), || self.bare.inject_at(PEER, &self.malformed, COUNT))
    }

    fn guarded(&self, junk: Junk) -> Result<f64> {
        let reason = match junk {
            Junk::Malformed => "message_type",
            Junk::Unknown => "unknown_receiver",
        };
        let counted = || -> Result<u64> {
            let dropped = self.program.counted()?.dropped;
            let found = dropped.iter().find(|(name, _)| *name == reason);
            found.map(|(_, count)| *count).with_context(|| format!("no counter of {reason}"))
        };
        all_counted(counted, || self.native.inject_at(PEER, self.injector(junk), COUNT))
    }

    fn dropped_by_tc(&self) -> Result<f64> {
        all_counted(|| self.counter.packets(), || self.tc.inject_at(PEER, &self.malformed, COUNT))
    }

    const fn injector(&self, junk: Junk) -> &Injector {
        match junk {
            Junk::Malformed => &self.malformed,
            Junk::Unknown => &self.unknown,
        }
    }
}

/// Measures, if all frames had the verdict that is counted when injecting is over: then it was this thread that
/// received them, and its time is theirs.
fn all_counted(counted: impl Fn() -> Result<u64>, measure: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let before = counted()?;
    let ns = measure()?;
    let judged = counted()? - before;
    ensure!(judged == u64::from(COUNT), "of {COUNT} frames {judged} had the verdict");
    Ok(ns)
}

const fn metric(name: &'static str, what: &'static str) -> Metric {
    Metric { name, unit: "ns", better: Better::Lower, what }
}

/// What is measured: two floors, and what lies above the second.
const CASES: [Case<Plain<Scene>>; 5] = [
    Case {
        metric: metric("floor_inject_ns", "a frame injected and thrown away at once"),
        run: |scene, _| scene.injecting(),
    },
    Case {
        metric: metric(
            "floor_xdp_drop_ns",
            "injected, sent over a veth, dropped unread by a native XDP program",
        ),
        run: |scene, _| scene.discarded(),
    },
    Case {
        metric: metric("guard_malformed_ns", "a message of no type: dropped by the guard, natively"),
        run: |scene, _| scene.guarded(Junk::Malformed),
    },
    Case {
        metric: metric(
            "guard_unknown_ns",
            "data for a receiver that nobody is: dropped by the guard, natively",
        ),
        run: |scene, _| scene.guarded(Junk::Unknown),
    },
    Case {
        metric: metric(
            "guard_tc_drop_ns",
            "a message of no type: made a packet, and dropped by a program of TC",
        ),
        run: |scene, _| scene.dropped_by_tc(),
    },
];

/// Names of all that is measured here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.metric.name)
}

/// Measures, less the floor; and, in the last two, with what it costs to send frames over a veth.
pub(super) fn measure(bed: &Bed<'_>, rounds: Rounds, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    let series = interleave::run(&mut Scene::new(bed)?, &CASES, rounds, say)?;
    let [inject, floor, malformed, unknown, tc] = &series[..] else { bail!("not as many series as cases") };
    let less = |case: &Series, floor: &Series| case.beside(floor, case.metric, |case, floor| case - floor);
    let sent = |name: &'static str, case: &Series| {
        let what = "the same with what sending over a veth costs in both";
        let metric = Metric { name, unit: "", better: Better::Lower, what };
        less(case, inject)?.beside(&less(tc, inject)?, metric, |case, tc| case / tc)
    };
    Ok(vec![
        inject.clone(),
        floor.clone(),
        less(malformed, floor)?,
        less(unknown, floor)?,
        less(tc, floor)?,
        sent("guard_malformed_sent_ratio", malformed)?,
        sent("guard_unknown_sent_ratio", unknown)?,
    ])
}

/// Junk from random senders, for random receivers.
fn frames(junk: Junk) -> Vec<Frame> {
    let mut rng = fastrand::Rng::with_seed(2);
    let one = || {
        let mut frame = [0; BYTES];
        frame[..6].copy_from_slice(&MAC);
        frame[12] = 8;
        let ip = L2_BYTES as usize;
        // The shortest message of data; what is behind it in the frame is padding.
        let (udp_bytes, ip_bytes): (u16, u16) = (8 + 32, 20 + 8 + 32);
        frame[ip..ip + 10].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
        frame[ip + 2..ip + 4].copy_from_slice(&ip_bytes.to_be_bytes());
        frame[ip + 12..ip + 16].copy_from_slice(&rng.u32(..).to_be_bytes());
        frame[ip + 16..ip + 20].copy_from_slice(&LOCAL);
        let udp = ip + 20;
        frame[udp..udp + 2].copy_from_slice(&rng.u16(1024..).to_be_bytes());
        frame[udp + 2..udp + 4].copy_from_slice(&PORT.to_be_bytes());
        frame[udp + 4..udp + 6].copy_from_slice(&udp_bytes.to_be_bytes());
        frame[udp + 8] = if junk == Junk::Unknown { 4 } else { 9 };
        let receiver = rng.u32(KNOWN.end << 8..);
        frame[udp + 12..udp + 16].copy_from_slice(&receiver.to_le_bytes());
        frame
    };
    std::iter::repeat_with(one).take(PREPARED).collect()
}

/// Has the driver of a veth receive by polling, as one without XDP does only where GRO is on.
fn enable_gro(interface: &str) -> Result<()> {
    /// linux/ethtool.h: `ETHTOOL_SGRO`, and on.
    const SET: [u32; 2] = [0x2c, 1];
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("no socket")?;
    let mut value = SET;
    // SAFETY: all zero is a valid value of this struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request and what it points to are valid for the call, and of the types that it takes.
    let result =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCETHTOOL, &raw mut request) };
    ensure!(result == 0, "cannot turn GRO on: {}", std::io::Error::last_os_error());
    Ok(())
}
