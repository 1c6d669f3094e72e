//! The guard's program and its maps.

use std::collections::HashMap as Shadow;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use nexa_abi::xdp_guard::{CHECK_RECEIVERS, Config, JOINED, LocalKey, Verdict, map, receiver_position};

use super::Mode;

/// The program, by the name that the object gives it.
pub(super) const PROGRAM: &str = "nexa_xdp_guard";

/// The object, built by `cargo xtask ebpf` and aligned as the ELF reader wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NEXA_XDP_EBPF_OBJECT"));

/// The budget for handshake initiations of all senders together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// In the long run, per second; 0 is without limit.
    pub initiations_per_second: u32,
    /// At once, when there were none before.
    pub initiation_burst: u32,
}

impl Default for Options {
    /// 10,000 clients whose gateway was away try again every 5 s each: 2,000 a second, with room. Refused by its
    /// first MAC or answered with a cookie, an initiation costs the tunnel some 5 µs: 5,000 are a fortieth of a core.
    fn default() -> Self {
        Self { initiations_per_second: 5_000, initiation_burst: 5_000 }
    }
}

/// What the program counted at the tunnel's port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Datagrams that went on to the tunnel.
    pub passed: u64,
    /// Datagrams that ended, by reason.
    pub dropped: Vec<(&'static str, u64)>,
}

/// The program, loaded, and its maps, of which this is the only writer but for counters and budget.
pub struct Program {
    ebpf: Ebpf,
    config: Array<MapData, Config>,
    local: HashMap<MapData, LocalKey, u8>,
    receivers: Array<MapData, u64>,
    verdicts: PerCpuArray<MapData, u64>,
    /// The words of the map of receivers that are not zero.
    words: Shadow<u32, u64>,
    budget: Options,
    port: u16,
    /// What holds the program on its interface.
    pub(super) pin: Option<PathBuf>,
}

impl Program {
    /// Loads the program. It is attached nowhere, and passes everything until [`Program::configure`].
    ///
    /// # Errors
    /// When the kernel refuses, with the verifier's or the system's words.
    pub fn load(budget: &Options) -> anyhow::Result<Self> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).context("the kernel refused the guard's maps")?;
        xdp(&mut ebpf)?.load().context("the kernel refused the guard's program")?;
        let mut take = |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        let (config, local) = (take(map::CONFIG)?.try_into()?, take(map::LOCAL)?.try_into()?);
        let (receivers, verdicts) = (take(map::RECEIVERS)?.try_into()?, take(map::VERDICTS)?.try_into()?);
        let (words, budget) = (Shadow::new(), *budget);
        Ok(Self { ebpf, config, local, receivers, verdicts, words, budget, port: 0, pin: None })
    }

    /// The port that is judged; 0 for none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Judges `port` from now on, or with 0 nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn configure(&mut self, port: u16, mode: Mode, check_receivers: bool) -> anyhow::Result<()> {
        let check = if check_receivers { CHECK_RECEIVERS } else { 0 };
        let joined = if mode == Mode::Generic { JOINED } else { 0 };
        let interval = 1_000_000_000_u32.checked_div(self.budget.initiations_per_second).unwrap_or(0);
        let config = Config {
            port: port.to_be_bytes(),
            flags: check | joined,
            initiation_interval_ns: interval,
            // The first of a burst is ahead of nothing.
            initiation_burst_ns: u64::from(interval)
                * u64::from(self.budget.initiation_burst.saturating_sub(1)),
        };
        self.config.set(0, config, 0).context("cannot write CONFIG")?;
        self.port = port;
        Ok(())
    }

    /// Makes receivers known or unknown, each by the upper 24 bits of its indexes.
    ///
    /// # Errors
    /// When the kernel refuses; some of them may have been taken.
    pub fn set_receivers(&mut self, prefixes: &[u32], known: bool) -> anyhow::Result<()> {
        for &prefix in prefixes {
            let (word, bit) = receiver_position(prefix);
            let before = self.words.get(&word).copied().unwrap_or(0);
            let now = if known { before | bit } else { before & !bit };
            self.receivers.set(word, now, 0).context("cannot write RECEIVERS")?;
            self.words.insert(word, now);
        }
        self.words.retain(|_, bits| *bits != 0);
        Ok(())
    }

    /// Makes every receiver unknown.
    ///
    /// # Errors
    /// When the kernel refuses; some of them may be left.
    pub fn clear_receivers(&mut self) -> anyhow::Result<()> {
        for &word in self.words.keys() {
            self.receivers.set(word, 0, 0).context("cannot write RECEIVERS")?;
        }
        self.words.clear();
        Ok(())
    }

    /// Makes `now` the host's addresses, which were `before`.
    ///
    /// # Errors
    /// When the kernel refuses; addresses may then be missing, or be there although the host has them no more.
    pub fn set_local(&mut self, before: &[IpAddr], now: &[IpAddr]) -> anyhow::Result<()> {
        for gone in before.iter().filter(|address| !now.contains(address)) {
            match self.local.remove(&LocalKey::new(*gone)) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("cannot delete from LOCAL"),
            }
        }
        for new in now.iter().filter(|address| !before.contains(address)) {
            self.local.insert(LocalKey::new(*new), 1, 0).context("cannot write LOCAL")?;
        }
        Ok(())
    }

    /// Reads the counters, of all CPUs together.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn counted(&self) -> anyhow::Result<Counted> {
        let count = |verdict: Verdict| -> anyhow::Result<u64> {
            let counted = self.verdicts.get(&(verdict as u32), 0).context("cannot read VERDICTS")?;
            Ok(counted.iter().sum())
        };
        let dropped = Verdict::DROPS.iter().map(|verdict| Ok((verdict.as_str(), count(*verdict)?)));
        Ok(Counted { passed: count(Verdict::Passed)?, dropped: dropped.collect::<anyhow::Result<_>>()? })
    }

    /// The program, for runs on frames that never were on a wire.
    ///
    /// # Errors
    /// When the object has none, which no build leaves.
    pub fn xdp(&self) -> anyhow::Result<&Xdp> {
        Ok(self.ebpf.program(PROGRAM).context("the object has no guard")?.try_into()?)
    }

    /// The program, to be attached.
    ///
    /// # Errors
    /// As [`Program::xdp`].
    pub fn xdp_mut(&mut self) -> anyhow::Result<&mut Xdp> {
        xdp(&mut self.ebpf)
    }
}

fn xdp(ebpf: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    Ok(ebpf.program_mut(PROGRAM).context("the object has no guard")?.try_into()?)
}
