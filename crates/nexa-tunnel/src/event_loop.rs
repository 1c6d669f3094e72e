use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use nexa_types::PublicKey;

use crate::core::{Core, MAX_PACKET, PADDING, Update};
use crate::offload::HEADER;
use crate::platform::{Poll, Ready, RecvRing, UdpSocket, Wakeup};
use crate::spin::Spin;
use crate::{DropCounts, PeerStatus};

/// What is taken from the device before the socket gets its turn again, and the other way round (in batches).
const DEVICE_TURN_FRAMES: usize = 128;
const DEVICE_TURN_BYTES: usize = 256 << 10;
const SOCKET_TURN: usize = 4;

/// What other threads ask of the loop. Answers come when it is done.
pub(crate) enum Command {
    Apply(Update, SyncSender<()>),
    RestoreEndpoints(Vec<(PublicKey, SocketAddr)>, SyncSender<()>),
    /// Another socket, ready to receive.
    Rebind(UdpSocket, SyncSender<io::Result<()>>),
    /// The mark of what is sent; 0 for none.
    Mark(u32, SyncSender<io::Result<()>>),
    Statuses(SyncSender<Vec<PeerStatus>>),
    Drops(SyncSender<DropCounts>),
    Stop,
}

/// Runs until told to stop; an error is one that the tunnel cannot go on after.
pub(crate) fn run(
    mut core: Core,
    poll: &Poll,
    wakeup: &Wakeup,
    commands: &Receiver<Command>,
) -> io::Result<()> {
    let mut ring = RecvRing::new();
    let mut frame = vec![0; HEADER + MAX_PACKET + PADDING];
    let mut spin = Spin::new();
    loop {
        let ready = wait(&core, poll, &mut spin)?;
        core.set_now(Instant::now());
        core.run_timers();
        let mut bytes = 0;
        if ready.socket {
            bytes += receive(&mut core, &mut ring)?;
        }
        if ready.device {
            bytes += read_device(&mut core, &mut frame, spin.is_light())?;
        }
        spin.moved(bytes);
        if ready.commands {
            wakeup.clear();
            if obey(&mut core, poll, commands) == Next::Stop {
                core.flush();
                return Ok(());
            }
        }
        core.flush();
    }
}

/// Waits until there is something to do.
fn wait(core: &Core, poll: &Poll, spin: &mut Spin) -> io::Result<Ready> {
    let (start, window) = (Instant::now(), spin.window());
    while start.elapsed() < window {
        let ready = poll.wait(Some(Duration::ZERO))?;
        if ready.any() {
            return Ok(ready);
        }
        // Who else wants this core may be the one that is waited for.
        thread::yield_now();
    }
    let timeout = core.next_timer().map(|at| at.saturating_duration_since(Instant::now()));
    let ready = poll.wait(timeout)?;
    spin.slept(start.elapsed());
    Ok(ready)
}

/// Returns how many bytes came.
fn receive(core: &mut Core, ring: &mut RecvRing) -> io::Result<usize> {
    let mut bytes = 0;
    for _ in 0..SOCKET_TURN {
        let full = ring.recv(core.socket())?;
        for (datagram, from) in ring.datagrams() {
            bytes += datagram.len();
            core.datagram(datagram, from);
        }
        core.flush_to_device();
        if !full {
            break;
        }
    }
    Ok(bytes)
}

/// Returns how many bytes came. The first packet is sent before the next is asked for when it is expected to be `alone`.
fn read_device(core: &mut Core, frame: &mut [u8], alone: bool) -> io::Result<usize> {
    let (mut frames, mut bytes) = (0, 0);
    while frames < DEVICE_TURN_FRAMES && bytes < DEVICE_TURN_BYTES {
        let Some(length) = core.tun().recv(&mut frame[..HEADER + MAX_PACKET])? else { break };
        core.frame(frame, length);
        if alone && frames == 0 {
            core.flush();
        }
        frames += 1;
        bytes += length;
    }
    Ok(bytes)
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

fn obey(core: &mut Core, poll: &Poll, commands: &Receiver<Command>) -> Next {
    // Whoever asked may have stopped waiting for the answer; that is not the loop's concern.
    loop {
        match commands.try_recv() {
            Ok(Command::Apply(update, done)) => {
                core.apply(update);
                let _ = done.send(());
            }
            Ok(Command::RestoreEndpoints(places, done)) => {
                core.restore_endpoints(places);
                let _ = done.send(());
            }
            Ok(Command::Rebind(socket, done)) => {
                let watched = poll.watch_socket(&socket);
                if watched.is_ok() {
                    // Closing the one before ends the watch on it.
                    core.replace_socket(socket);
                }
                let _ = done.send(watched);
            }
            Ok(Command::Mark(mark, done)) => {
                let _ = done.send(core.socket().set_mark(mark));
            }
            Ok(Command::Statuses(answer)) => {
                let _ = answer.send(core.statuses());
            }
            Ok(Command::Drops(answer)) => {
                let _ = answer.send(core.drops());
            }
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Next::Stop,
            Err(TryRecvError::Empty) => return Next::GoOn,
        }
    }
}
