//! The guard on the uplink: what no peer could have sent to the tunnel's port ends in XDP, before it costs a socket.
//!
//! What it refuses is [`nexa_abi::xdp_guard`]. It is a help and no wall: the tunnel checks everything again, by keys.
//! So wherever the guard cannot be right it steps aside, and a gateway serves without it.
//!
//! The link is pinned, so that a restart replaces the program without a moment in which none is. Maps are not: a new
//! program comes with maps of its own, and judges nothing until the new tunnel has said what it answers to. A daemon
//! that was killed leaves a guard that knows receivers of nobody, at a port that nobody serves.

mod attach;
mod detach;
mod program;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use nexa_abi::xdp_guard::MAX_LOCAL;

use crate::config::{Host, XdpMode};
pub use program::{Counted, Options, Program};

/// Shared by the tunnel, which says what it answers to, the gateway, which knows the host's addresses, and metrics.
pub type Shared = Arc<Mutex<XdpGuard>>;

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, behind the driver and behind GRO.
    Generic,
}

impl Mode {
    /// The name in settings, metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Whether the program of this number is a guard of ours.
pub fn is_ours(id: u32) -> bool {
    let mut programs = aya::programs::loaded_programs().filter_map(Result::ok);
    programs.any(|program| program.id() == id && program.name_as_str() == Some(program::PROGRAM))
}

/// The guard, or that there is none.
#[derive(Default)]
pub struct XdpGuard {
    attached: Option<Attached>,
    failures: u64,
}

struct Attached {
    program: Program,
    mode: Mode,
    /// Addresses that the program knows.
    local: Vec<IpAddr>,
    /// Whether the map of receivers is what the tunnel says.
    receivers_known: bool,
}

impl XdpGuard {
    /// Attaches the guard as the settings say, in place of one that an earlier daemon left; it judges nothing yet.
    /// What keeps it from being attached is logged, and the gateway goes on without.
    pub fn start(host: &Host) -> Self {
        let Some(uplink) = host.uplink.as_ref().filter(|_| host.xdp_guard != XdpMode::Off) else {
            match host.xdp_guard {
                XdpMode::Off => tracing::info!("the XDP guard is off"),
                _ => tracing::info!("`uplink` is not set, so the XDP guard is nowhere attached"),
            }
            attach::detach_all(&host.pin_dir);
            return Self::default();
        };
        let attached = Program::load(&Options::default())
            .and_then(|mut program| Ok((attach::attach(&mut program, uplink, host)?, program)));
        match attached {
            Ok((mode, program)) => {
                tracing::info!(%uplink, mode = mode.as_str(), "the XDP guard is attached");
                Self {
                    attached: Some(Attached { program, mode, local: Vec::new(), receivers_known: false }),
                    failures: 0,
                }
            }
            Err(error) => {
                tracing::warn!(
                    %uplink,
                    "the XDP guard cannot be attached; the gateway goes on without it, and junk for the tunnel's port \
                     costs more: {error:#}"
                );
                Self::default()
            }
        }
    }

    /// How it is attached; `None` where it is not.
    pub fn mode(&self) -> Option<Mode> {
        self.attached.as_ref().map(|attached| attached.mode)
    }

    /// How often a map could not be written. From then on the guard judges less, or nothing.
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether messages to unknown receivers are refused.
    pub fn checks_receivers(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.receivers_known)
    }

    /// What was counted since it was attached; `None` where it is not.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counted(&self) -> anyhow::Result<Option<Counted>> {
        self.attached.as_ref().map(|attached| attached.program.counted()).transpose()
    }

    /// A tunnel begins to listen on `port`; it has no peers yet.
    pub fn begin(&mut self, port: u16) {
        self.write(|attached| {
            attached.receivers_known = false;
            attached.program.clear_receivers()?;
            attached.receivers_known = true;
            attached.configure(port)
        });
    }

    /// The tunnel has ended: whoever takes its port, our receivers say nothing about it.
    pub fn suspend(&mut self) {
        self.write(|attached| attached.configure(0));
    }

    /// These are the addresses of this host. Datagrams to others are not judged.
    pub fn set_local(&mut self, local: &[IpAddr]) {
        // No host has more; if one did, the others would not be judged.
        let local = &local[..local.len().min(MAX_LOCAL as usize)];
        self.write(|attached| {
            if attached.local == local {
                return Ok(());
            }
            // Until all is written the program may judge by a mixture, each address of which is or was the host's.
            let before = std::mem::take(&mut attached.local);
            attached.program.set_local(&before, local)?;
            attached.local = local.to_vec();
            Ok(())
        });
    }

    /// Does something to the maps. Where that fails, receivers are not checked any more: an honest peer whose index
    /// is missing would be shut out. If even that cannot be written, the guard is taken away.
    fn write(&mut self, work: impl FnOnce(&mut Attached) -> anyhow::Result<()>) {
        let Some(attached) = &mut self.attached else { return };
        let Err(error) = work(attached) else { return };
        self.failures += 1;
        tracing::error!(
            "the XDP guard's maps cannot be written, so it judges by form only from now on: {error:#}"
        );
        attached.receivers_known = false;
        if let Err(error) = attached.configure(attached.program.port()) {
            tracing::error!("nor can that be told to the XDP guard, so it is detached: {error:#}");
            self.detach();
        }
    }

    fn detach(&mut self) {
        let Some(attached) = self.attached.take() else { return };
        if let Some(pin) = &attached.program.pin
            && let Err(error) = detach::detach(pin)
        {
            tracing::error!("cannot detach the XDP guard that is pinned at {}: {error}", pin.display());
        }
    }
}

impl Attached {
    fn configure(&mut self, port: u16) -> anyhow::Result<()> {
        self.program.configure(port, self.mode, self.receivers_known)
    }
}

impl nexa_tunnel::Receivers for XdpGuard {
    fn admit(&mut self, prefixes: &[u32]) {
        self.write(|attached| attached.program.set_receivers(prefixes, true));
    }

    fn retire(&mut self, prefixes: &[u32]) {
        self.write(|attached| attached.program.set_receivers(prefixes, false));
    }
}
