use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use nexa_tunnel::{Engine, PrivateKey, Tun, UserspaceApi};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Until `ip link set mtu` or wg-quick says otherwise: what fits into 1500 bytes over IPv6.
const MTU: u16 = 1420;

/// Runs the interface, and says when `wg` can set it up; returns when it is to end.
pub fn serve(interface: &str, ready: &dyn Fn() -> Result<()>) -> Result<()> {
    // Before there are threads, which inherit it.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC).context("cannot wait for signals")?;

    // The device comes first: only one process can have it, so only one looks after the socket.
    let tun = Tun::open(interface, MTU)?;
    let api = Arc::new(UserspaceApi::bind(interface)?);
    // Until `wg` gives it a key, it has one that nobody knows.
    let engine = Arc::new(Engine::start(tun, PrivateKey::generate(), 0)?);
    let inotify =
        Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("cannot watch files")?;
    let gone = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    inotify.add_watch(api.path(), gone).with_context(|| format!("cannot watch {}", api.path().display()))?;
    ready()?;

    loop {
        let mut fds = [api.as_fd(), engine.ended(), signals.as_fd(), inotify.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut fds, PollTimeout::NONE).context("cannot wait")?;
        let [asked, ended, signalled, changed] = fds.map(|fd| fd.any().unwrap_or(true));
        if signalled {
            return Ok(());
        }
        if ended {
            return how_it_ended(interface, &engine);
        }
        if changed {
            // What happened does not matter, as the place is looked at.
            drop(inotify.read_events());
            if !api.is_in_place() {
                return Ok(());
            }
        }
        if asked {
            api.accept(&engine);
        }
    }
}

/// A deleted interface is how `wg-quick down` ends a tunnel.
fn how_it_ended(interface: &str, engine: &Engine) -> Result<()> {
    match engine.failure() {
        None | Some(Engine::DELETED) => Ok(()),
        Some(failure) => bail!("{interface}: {failure}"),
    }
}
