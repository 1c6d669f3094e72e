//! Frames into an interface: BPF_PROG_TEST_RUN on live frames, which take the path of received ones from there on.

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, MapData, PerCpuArray},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, TestRunAttrs, Xdp, tc::TcAttachOptions, xdp::XdpMode,
    },
};
use nix::time::{ClockId, clock_gettime};

use super::frame::{self, Frame};

/// The object, built by `cargo xtask ebpf` and aligned as the ELF reader wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NEXA_BENCH_EBPF_OBJECT"));

/// Frames that the kernel makes and receives together, as many as a driver hands over in one poll.
const BATCH: u32 = 64;

/// What becomes of a frame: an XDP action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::benches) enum Action {
    /// Thrown away at once: what injecting alone costs.
    Drop = 1,
    /// Received by the interface.
    Pass = 2,
    /// Sent by the interface: its peer receives it.
    Transmit = 3,
}

/// Whether flows are the same after the last frame as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::benches) enum Flows {
    /// Each lap repeats them.
    Repeat,
    /// Each lap begins others: with other source ports.
    Begin,
}

/// A program with prepared frames.
pub(in crate::benches) struct Injector {
    ebpf: Ebpf,
    frames: u32,
    /// What is injected, but for the prepared bytes that each begins with.
    buffer: Vec<u8>,
}

/// As the object has it: next, count, lap, step.
type Cursor = [u32; 4];

impl Injector {
    /// Loads frames, which are sent in this order.
    pub(in crate::benches) fn new(frames: &[Frame], action: Action, flows: Flows) -> Result<Self> {
        let (count, action) = (u32::try_from(frames.len()).context("too many frames")?, action as u32);
        ensure!(count > 0, "no frames");
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("FRAMES", count);
        loader.override_global("ACTION", &action, true);
        let mut ebpf = loader.load(OBJECT).context("the kernel refused the injector's maps")?;
        let mut map: Array<_, Frame> = ebpf.map_mut("FRAMES").context("no FRAMES")?.try_into()?;
        for (index, frame) in (0..).zip(frames) {
            map.set(index, frame, 0).context("cannot write FRAMES")?;
        }
        let mut cursor: Array<_, Cursor> = ebpf.map_mut("CURSOR").context("no CURSOR")?.try_into()?;
        cursor.set(0, [0, count, 0, u32::from(flows == Flows::Begin)], 0).context("cannot write CURSOR")?;
        let program: &mut Xdp = ebpf.program_mut("inject").context("no injector")?.try_into()?;
        program.load().context("the kernel refused the injector")?;
        Ok(Self { ebpf, frames: count, buffer: vec![0; frame::BYTES] })
    }

    /// Has every frame go on with these bytes.
    pub(in crate::benches) fn with_tail(mut self, tail: &[u8]) -> Self {
        self.buffer.extend_from_slice(tail);
        self
    }

    /// How many frames there are.
    pub(super) const fn frames(&self) -> u32 {
        self.frames
    }

    /// Injects `count` frames into the interface of index `interface` of this thread's namespace, and returns the
    /// nanoseconds of one: of this thread's own time, which others on the machine add nothing to but by what they
    /// leave in the caches.
    pub(in crate::benches) fn run(&self, interface: u32, count: u32) -> Result<f64> {
        let program: &Xdp = self.ebpf.program("inject").context("no injector")?.try_into()?;
        let bytes = u32::try_from(self.buffer.len()).context("frames are short")?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: [u32; 6] = [0, bytes, 0, interface, 0, 0];
        let options = TestRunOptions {
            data_in: Some(&self.buffer),
            ctx_in: Some(bytemuck::cast_slice(&context)),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let start = thread_time()?;
        program.test_run(options).context("the kernel refused live frames")?;
        let taken = thread_time()? - start;
        Ok(taken / f64::from(count))
    }
}

/// Nanoseconds that this thread has run.
fn thread_time() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("no clock of the thread")?;
    #[expect(clippy::cast_precision_loss, reason = "seconds of a bench")]
    Ok(time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64)
}

/// A program at an interface that ends packets or lets them pass, and counts them.
pub(super) struct Counter {
    ebpf: Ebpf,
}

impl Counter {
    /// Ends every packet at an interface of this thread's namespace, behind all programs that are there.
    pub(super) fn end(interface: &str, at: TcAttachType) -> Result<Self> {
        Self::classifier("end", interface, at)
    }

    /// Lets every packet pass.
    pub(super) fn pass(interface: &str, at: TcAttachType) -> Result<Self> {
        Self::classifier("pass", interface, at)
    }

    fn classifier(name: &str, interface: &str, at: TcAttachType) -> Result<Self> {
        let mut counter = Self::load()?;
        let program: &mut SchedClassifier =
            counter.ebpf.program_mut(name).context("no such program")?.try_into()?;
        program.load().context("the kernel refused the counter")?;
        program.attach_with_options(interface, at, TcAttachOptions::TcxOrder(LinkOrder::last()))?;
        Ok(counter)
    }

    /// Ends every frame in the driver of an interface of this thread's namespace.
    pub(super) fn discard(interface: &str) -> Result<Self> {
        let mut counter = Self::load()?;
        let program: &mut Xdp = counter.ebpf.program_mut("discard").context("no such program")?.try_into()?;
        program.load().context("the kernel refused the counter")?;
        program.attach(interface, XdpMode::Driver).context("no native XDP")?;
        Ok(counter)
    }

    fn load() -> Result<Self> {
        Ok(Self { ebpf: Ebpf::load(OBJECT).context("the kernel refused the counter's map")? })
    }

    /// Packets so far.
    pub(super) fn packets(&self) -> Result<u64> {
        let ended: PerCpuArray<&MapData, u64> = self.ebpf.map("ENDED").context("no ENDED")?.try_into()?;
        Ok(ended.get(&0, 0).context("cannot read ENDED")?.iter().sum())
    }
}
