use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use nexa_types::PublicKey;

use crate::config::validate;
use crate::core::Core;
use crate::desired::{Desired, Sessions};
use crate::event_loop::{self, Command};
use crate::peer::OwnKeys;
use crate::platform::{Poll, Tun, UdpSocket, Wakeup, is_deleted};
use crate::{DropCounts, PeerChanges, PeerConfig, PeerError, PeerStatus, PrivateKey};

/// A running tunnel. Dropping it ends the tunnel's thread and closes the device, which stays in the system.
///
/// boringtun logs every peer that falls silent as an ERROR of target `boringtun`; a program with many peers filters
/// that target out. Our own events are: endpoints at DEBUG, single drops at TRACE, the tunnel's end at ERROR.
pub struct Engine {
    listen_port: AtomicU16,
    /// Held while a change is applied, so that changes come one after the other.
    settings: Mutex<Settings>,
    commands: Sender<Command>,
    wakeup: Arc<Wakeup>,
    end: Arc<OnceLock<Option<String>>>,
    ended: Arc<Wakeup>,
    thread: Option<JoinHandle<()>>,
}

/// What the tunnel is meant to be.
struct Settings {
    keys: OwnKeys,
    desired: Desired,
    fwmark: u32,
}

/// What is to be different about a running tunnel; what is not given stays as it is.
#[derive(Debug, Default)]
pub struct Changes {
    /// Its own key. Another one ends all sessions.
    pub private_key: Option<PrivateKey>,
    /// The port on all addresses; 0 takes a free one.
    pub listen_port: Option<u16>,
    /// The mark of every datagram sent; 0 for none.
    pub fwmark: Option<u32>,
    /// Exactly these peers, see [`Engine::set_peers`].
    pub peers: Option<Vec<PeerConfig>>,
    /// Where peers are to be, also when they were last told the same and have moved since.
    pub moved: Vec<(PublicKey, SocketAddr)>,
}

/// How the tunnel's UDP socket is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// The port on all addresses; 0 takes a free one.
    pub listen_port: u16,
    /// The mark of every datagram sent, for routing rules that keep them out of the tunnel.
    pub fwmark: Option<u32>,
}

/// Who must know which receiver indexes are in use, because nothing else shall reach the socket.
///
/// Numbers are the upper 24 bits of an index; the low eight count a peer's sessions. They are random, and stay a
/// peer's for as long as it is one.
pub trait Receivers {
    /// These will be in use as soon as this returns.
    fn admit(&mut self, prefixes: &[u32]);

    /// These are in use no more.
    fn retire(&mut self, prefixes: &[u32]);
}

/// Nobody.
impl Receivers for () {
    fn admit(&mut self, _prefixes: &[u32]) {}

    fn retire(&mut self, _prefixes: &[u32]) {}
}

/// Why a tunnel did not start, or could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The UDP port is taken.
    #[error(
        "UDP port {port} is in use; choose another one, or stop what holds it (`ss -ulpn 'sport = {port}'` shows it)"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The UDP socket could not be made.
    #[error("the UDP socket for port {port} could not be made: {source}")]
    Socket {
        /// The port.
        port: u16,
        /// The system's answer.
        source: io::Error,
    },
    /// The mark was refused.
    #[error("the mark {mark:#x} was refused ({source}); it needs the capability CAP_NET_ADMIN")]
    Mark {
        /// The mark.
        mark: u32,
        /// The system's answer.
        source: io::Error,
    },
    /// The peers were refused.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// No thread, or nothing to wait with.
    #[error("the tunnel's thread could not be started: {0}")]
    Thread(#[source] io::Error),
}

impl Engine {
    /// [`Engine::failure`] when the interface was deleted.
    pub const DELETED: &str = "the interface was deleted";

    /// Starts a tunnel without peers on `tun`; its UDP socket is made in the calling thread's network namespace.
    /// A `listen_port` of 0 takes a free port.
    ///
    /// # Errors
    /// [`EngineError`], for instance when the port is taken.
    pub fn start(tun: Tun, private_key: PrivateKey, listen_port: u16) -> Result<Self, EngineError> {
        Self::start_with(tun, private_key, SocketOptions { listen_port, fwmark: None })
    }

    /// [`Engine::start`] with everything that can be chosen about the socket.
    ///
    /// # Errors
    /// [`EngineError`]; without CAP_NET_ADMIN a mark is refused.
    pub fn start_with(
        tun: Tun,
        private_key: PrivateKey,
        options: SocketOptions,
    ) -> Result<Self, EngineError> {
        let socket = bind(options.listen_port, options.fwmark)?;
        let listen_port = AtomicU16::new(socket.port());
        let wakeup = Arc::new(Wakeup::new().map_err(EngineError::Thread)?);
        let poll = Poll::new(&wakeup, &socket, &tun).map_err(EngineError::Thread)?;
        let core = Core::new(tun, socket, &private_key);
        let (commands, inbox) = mpsc::channel();
        let end = Arc::new(OnceLock::new());
        let ended = Arc::new(Wakeup::new().map_err(EngineError::Thread)?);
        let thread = std::thread::Builder::new()
            .name("nexa-tunnel".to_owned())
            .spawn({
                let wakeup = Arc::clone(&wakeup);
                let end = End { how: Arc::clone(&end), ended: Arc::clone(&ended) };
                move || end.set(event_loop::run(core, &poll, &wakeup, &inbox))
            })
            .map_err(EngineError::Thread)?;
        let settings = Mutex::new(Settings {
            keys: OwnKeys::new(private_key),
            desired: Desired::new(),
            fwmark: options.fwmark.unwrap_or(0),
        });
        Ok(Self { listen_port, settings, commands, wakeup, end, ended, thread: Some(thread) })
    }

    /// The UDP port it listens on.
    pub fn listen_port(&self) -> u16 {
        self.listen_port.load(Ordering::Acquire)
    }

    /// The mark of every datagram sent; 0 for none.
    pub fn fwmark(&self) -> u32 {
        self.settings().fwmark
    }

    /// The public key that peers know this tunnel by.
    pub fn public_key(&self) -> PublicKey {
        self.settings().keys.public()
    }

    /// The peers as they were last told to be, in no order.
    pub fn configured(&self) -> Vec<PeerConfig> {
        self.settings().desired.peers()
    }

    /// Makes the peers exactly these. Peers that are the same as before keep session, endpoint and counters and
    /// do not notice. The set is in force when this returns.
    ///
    /// # Errors
    /// [`PeerError`]; then nothing has been changed.
    pub fn set_peers(&self, peers: Vec<PeerConfig>) -> Result<PeerChanges, PeerError> {
        self.set_peers_announced(peers, &mut ())
    }

    /// [`Engine::set_peers`], with word to who filters datagrams ahead of the socket.
    ///
    /// # Errors
    /// [`PeerError`]; then nothing has been changed, but more may have been admitted than is in use.
    pub fn set_peers_announced(
        &self,
        peers: Vec<PeerConfig>,
        receivers: &mut dyn Receivers,
    ) -> Result<PeerChanges, PeerError> {
        let mut settings = self.settings();
        validate(settings.keys.public(), &peers)?;
        self.set(&mut settings, peers, None, Vec::new(), receivers)
    }

    /// Changes several things at once: all of them, or none. A new socket is made in the calling thread's network
    /// namespace.
    ///
    /// # Errors
    /// [`EngineError`]; then nothing has been changed, unless the tunnel has stopped.
    pub fn change(&self, changes: Changes) -> Result<PeerChanges, EngineError> {
        let mut settings = self.settings();
        let peers = changes.peers.unwrap_or_else(|| settings.desired.peers());
        let before = settings.keys.public();
        // The same key again is no change: configurations repeat it, and sessions shall outlive that.
        let private_key = changes.private_key.filter(|key| key.public_key() != before);
        let own = private_key.as_ref().map(PrivateKey::public_key);
        validate(own.unwrap_or(before), &peers)?;
        let mark = changes.fwmark.unwrap_or(settings.fwmark);
        let port = changes.listen_port.filter(|port| *port != self.listen_port());
        // What the system can refuse comes first.
        if let Some(port) = port {
            let socket = bind(port, (mark != 0).then_some(mark))?;
            let port = socket.port();
            self.ask(|done| Command::Rebind(socket, done))?
                .map_err(|source| EngineError::Socket { port, source })?;
            self.listen_port.store(port, Ordering::Release);
        } else if mark != settings.fwmark {
            self.ask(|done| Command::Mark(mark, done))?
                .map_err(|source| EngineError::Mark { mark, source })?;
        }
        settings.fwmark = mark;
        Ok(self.set(&mut settings, peers, private_key, changes.moved, &mut ())?)
    }

    /// Puts a set of peers in force that has been checked.
    fn set(
        &self,
        settings: &mut Settings,
        peers: Vec<PeerConfig>,
        private_key: Option<PrivateKey>,
        moved: Vec<(PublicKey, SocketAddr)>,
        receivers: &mut dyn Receivers,
    ) -> Result<PeerChanges, PeerError> {
        let sessions = private_key.as_ref().map_or(Sessions::Keep, |_| Sessions::Renew);
        if let Some(key) = &private_key {
            settings.keys = OwnKeys::new(key.clone());
        }
        let Settings { keys, desired, .. } = settings;
        let (mut update, changes) = desired.update_to(&peers, keys, sessions, Instant::now());
        (update.private_key, update.moved) = (private_key, moved);
        let removed = desired.indexes_of(&update.removed);
        let added: Vec<_> = update.added.iter().map(|added| added.peer.index).collect();
        receivers.admit(&added);
        self.ask(|done| Command::Apply(update, done))?;
        receivers.retire(&removed);
        desired.replace(peers);
        Ok(changes)
    }

    /// Tells where peers were last seen, for those whose place is not known (after a restart), and greets the ones
    /// without a session, 3,000 a second. Keys that are no peers are passed over.
    ///
    /// # Errors
    /// [`PeerError::Stopped`].
    pub fn restore_endpoints(&self, places: Vec<(PublicKey, SocketAddr)>) -> Result<(), PeerError> {
        self.ask(|done| Command::RestoreEndpoints(places, done))
    }

    /// All peers as they are now; none when the tunnel has stopped.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.ask(Command::Statuses).unwrap_or_default()
    }

    /// What was dropped since the start, by reason; all zero when the tunnel has stopped.
    pub fn drops(&self) -> DropCounts {
        self.ask(Command::Drops).unwrap_or_default()
    }

    /// Whether the tunnel is at work.
    pub fn is_running(&self) -> bool {
        self.end.get().is_none()
    }

    /// Why the tunnel ended on its own, for instance because its interface was deleted. `None` while it runs.
    pub fn failure(&self) -> Option<&str> {
        self.end.get()?.as_deref()
    }

    /// Something to wait on: readable once the tunnel has ended on its own.
    #[cfg(unix)]
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        // Peers are changed in one step at the end, so a panic elsewhere leaves them whole.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, PeerError> {
        let (answer, wait) = mpsc::sync_channel(1);
        self.commands.send(command(answer)).map_err(|_| PeerError::Stopped)?;
        self.wakeup.wake();
        wait.recv().map_err(|_| PeerError::Stopped)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Fails only when the thread has ended already.
        let _ = self.commands.send(Command::Stop);
        self.wakeup.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(port: u16, fwmark: Option<u32>) -> Result<UdpSocket, EngineError> {
    UdpSocket::bind(port, fwmark).map_err(|source| match (source.kind(), fwmark) {
        (io::ErrorKind::AddrInUse, _) => EngineError::PortInUse { port },
        (io::ErrorKind::PermissionDenied, Some(mark)) => EngineError::Mark { mark, source },
        _ => EngineError::Socket { port, source },
    })
}

/// Leaves word of the thread's end, also when it panics.
struct End {
    how: Arc<OnceLock<Option<String>>>,
    ended: Arc<Wakeup>,
}

impl End {
    fn set(&self, result: io::Result<()>) {
        let failure = result.err().map(|error| {
            if is_deleted(&error) {
                Engine::DELETED.to_owned()
            } else {
                format!("the device or the socket failed: {error}")
            }
        });
        if let Some(failure) = &failure {
            tracing::error!(%failure, "the tunnel has stopped");
        }
        let _ = self.how.set(failure);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.how.set(Some("the tunnel's thread panicked".to_owned()));
        }
        self.ended.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handle_can_be_shared_between_threads() {
        const fn shared<T: Send + Sync>() {}
        shared::<Engine>();
    }
}
