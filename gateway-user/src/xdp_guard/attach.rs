//! The guard's program on the uplink, and the pins that keep it there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpMode as Flag;
use aya::programs::{ProgramError, Xdp};
use nix::net::if_::if_nametoindex;

use super::detach::detach;
use super::{Mode, Program};
use crate::config::{Host, InterfaceName, XdpMode};

/// Names of pins begin with this; mode and number of the interface follow. The number, because a bpffs takes no dots
/// in names and interfaces have them.
const PIN: &str = "xdp_guard_";

impl Mode {
    const fn flag(self) -> Flag {
        match self {
            Self::Native => Flag::Driver,
            Self::Generic => Flag::Skb,
        }
    }
}

/// Attaches the program, or has it replace the one behind a link that is pinned; takes all other links of ours away.
/// With [`XdpMode::Auto`] natively where the driver can.
pub fn attach(program: &mut Program, uplink: &InterfaceName, host: &Host) -> anyhow::Result<Mode> {
    let modes: &[Mode] = match host.xdp_guard {
        XdpMode::Auto => &[Mode::Native, Mode::Generic],
        XdpMode::Native => &[Mode::Native],
        XdpMode::Generic => &[Mode::Generic],
        XdpMode::Off => &[],
    };
    let index = if_nametoindex(uplink.as_str()).with_context(|| format!("there is no interface {uplink}"))?;
    let pin = |mode: Mode| host.pin_dir.join(format!("{PIN}{}_{index}", mode.as_str()));
    // One of the second choice makes way: the driver may take the first by now.
    let first = modes.first().map(|mode| pin(*mode));
    remove_pins(&host.pin_dir, first.as_deref());
    let mut refused = Vec::new();
    for &mode in modes {
        match attach_as(program.xdp_mut()?, index, mode, &pin(mode)) {
            Ok(()) => {
                program.pin = Some(pin(mode));
                return Ok(mode);
            }
            Err(error) => refused.push(format!("{}: {error:#}", mode.as_str())),
        }
    }
    bail!("{}", refused.join("; "))
}

fn attach_as(xdp: &mut Xdp, index: u32, mode: Mode, pin: &Path) -> anyhow::Result<()> {
    if pin.exists() {
        let link = PinnedLink::from_pin(pin).with_context(|| format!("cannot open {}", pin.display()))?;
        match xdp.attach_to_link(FdLink::from(link).try_into()?) {
            // The pin still holds the link; ours was a second hold on it.
            Ok(_) => return Ok(()),
            // Its interface is gone.
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOLINK) => {}
            Err(error) => return Err(error).context("cannot replace the program behind the pinned link"),
        }
        fs::remove_file(pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    }
    let id = xdp.attach_to_if_index(index, mode.flag()).map_err(in_words)?;
    let link: FdLink = xdp.take_link(id)?.try_into()?;
    link.pin(pin).with_context(|| format!("cannot pin the link at {}", pin.display()))?;
    Ok(())
}

fn in_words(error: ProgramError) -> anyhow::Error {
    let ProgramError::SyscallError(syscall) = &error else { return error.into() };
    match syscall.io_error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            anyhow::anyhow!("another XDP program is attached there (`ip link show` names it)")
        }
        Some(libc::EOPNOTSUPP) => anyhow::anyhow!("the driver does not take it"),
        _ => error.into(),
    }
}

/// Takes every guard of ours away.
pub fn detach_all(pin_dir: &Path) {
    remove_pins(pin_dir, None);
}

fn remove_pins(pin_dir: &Path, except: Option<&Path>) {
    let pins = match pins(pin_dir) {
        Ok(pins) => pins,
        Err(error) => {
            return tracing::warn!("cannot look for earlier XDP guards in {}: {error}", pin_dir.display());
        }
    };
    for pin in pins.iter().filter(|pin| except != Some(pin)) {
        if let Err(error) = detach(pin) {
            tracing::warn!(
                "cannot detach the earlier XDP guard that is pinned at {}: {error}",
                pin.display()
            );
        }
    }
}

fn pins(pin_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(pin_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PIN) {
            pins.push(entry.path());
        }
    }
    Ok(pins)
}
