//! Programs on the interface.

use std::io;
use std::path::Path;

use anyhow::{Context as _, ensure};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use aya::sys::SyscallError;
use aya::util::KernelVersion;
use nexa_abi::layout::Direction;

/// How programs are put on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A TCX link, since Linux 6.6: pinned, so that it outlives the daemon, and in front of all others.
    Tcx,
    /// A filter of the clsact qdisc, on older kernels. It is no link: it stays with the interface, at a place of
    /// ours, where the next daemon replaces it.
    Clsact,
}

/// Where our filters are among those of the clsact qdisc: before all that let the kernel choose.
const CLSACT_PRIORITY: u16 = 1;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);

impl Attachment {
    /// The better one that this kernel has.
    pub fn of_kernel() -> Self {
        let has_links = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0));
        if has_links { Self::Tcx } else { Self::Clsact }
    }
}

/// Attaches `program` by a TCX link, or has it replace the one behind the pinned link. The link is pinned at `pin`;
/// without a pin it ends with the program.
///
/// A pin may outlive its interface: the link is then dead, and the interface that now has the name is bare.
pub fn attach_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    direction: Direction,
    pin: Option<&Path>,
) -> anyhow::Result<()> {
    let attach_type = attach_type(direction);
    let in_front = || TcAttachOptions::TcxOrder(LinkOrder::first());
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

/// Attaches `program` as a filter of the clsact qdisc, or has it replace the one at our place there. It stays when
/// the program's owner ends.
pub fn attach_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    direction: Direction,
) -> anyhow::Result<()> {
    let attach_type = attach_type(direction);
    match qdisc_add_clsact(interface) {
        Ok(()) => {}
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(error).context("cannot add the clsact qdisc"),
    }
    let here = NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None };
    let id = match program.attach_with_options(interface, attach_type, TcAttachOptions::Netlink(here)) {
        Ok(id) => id,
        // Somebody is there already: an earlier daemon's program.
        Err(_) => {
            let theirs =
                SchedClassifierLink::attached(interface, attach_type, CLSACT_PRIORITY, CLSACT_HANDLE, None)?;
            program.attach_to_link(theirs)?
        }
    };
    // A link that is dropped detaches. This one is to stay.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Ids of the programs that packets of `interface` pass by TCX links, in their order.
pub fn programs_on(interface: &str, direction: Direction) -> anyhow::Result<Vec<u32>> {
    let (_, attached) = SchedClassifier::query_tcx(interface, attach_type(direction))?;
    Ok(attached.iter().map(ProgramInfo::id).collect())
}

fn is_attached(program: &SchedClassifier, interface: &str, direction: Direction) -> anyhow::Result<bool> {
    Ok(programs_on(interface, direction)?.contains(&program.info()?.id()))
}

const fn attach_type(direction: Direction) -> TcAttachType {
    match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    }
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
