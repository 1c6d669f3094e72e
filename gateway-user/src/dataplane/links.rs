//! Programs on the interface.

use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;
use nexa_abi::layout::Direction;

/// Attaches `program` in front of all others, or has it replace the one behind the pinned link. The link is pinned
/// at `pin`; without a pin it ends with the program.
///
/// A pin may outlive its interface: the link is then dead, and the interface that now has the name is bare.
pub fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    direction: Direction,
    pin: Option<&Path>,
) -> anyhow::Result<()> {
    let attach_type = attach_type(direction);
    let Some(pin) = pin else {
        program.attach_with_options(interface, attach_type, in_front())?;
        return Ok(());
    };
    if let Some(pinned) = open_pin(pin)? {
        match program.attach_to_link(FdLink::from(pinned).try_into()?) {
            // The pin still holds the link; ours was a second hold on it.
            Ok(_) if is_attached(program, interface, direction)? => return Ok(()),
            Ok(_) => {}
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOLINK) => {}
            Err(error) => return Err(error).context("cannot replace the program behind the pinned link"),
        }
        // The link's interface is gone, or is not the one asked for.
        std::fs::remove_file(pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    }
    let id = program.attach_with_options(interface, attach_type, in_front())?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin).with_context(|| format!("cannot pin the link at {}", pin.display()))?;
    ensure!(is_attached(program, interface, direction)?, "the program does not show on the interface");
    Ok(())
}

/// Whether the program is one of those that packets of `interface` pass.
pub fn is_attached(program: &SchedClassifier, interface: &str, direction: Direction) -> anyhow::Result<bool> {
    let ours = program.info()?.id();
    let (_, attached) = SchedClassifier::query_tcx(interface, attach_type(direction))?;
    Ok(attached.iter().any(|info| info.id() == ours))
}

const fn attach_type(direction: Direction) -> TcAttachType {
    match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    }
}

fn in_front() -> TcAttachOptions {
    TcAttachOptions::TcxOrder(LinkOrder::first())
}

fn open_pin(pin: &Path) -> anyhow::Result<Option<PinnedLink>> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link)),
        Err(LinkError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot open the pinned link {}", pin.display())),
    }
}
