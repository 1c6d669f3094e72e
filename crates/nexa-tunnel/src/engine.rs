use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use nexa_types::PublicKey;

use crate::config::validate;
use crate::core::Core;
use crate::desired::Desired;
use crate::event_loop::{self, Command};
use crate::peer::OwnKeys;
use crate::platform::{Poll, Tun, UdpSocket, Wakeup};
use crate::{DropCounts, PeerChanges, PeerConfig, PeerError, PeerStatus, PrivateKey};

/// A running tunnel. Dropping it ends the tunnel's thread and closes the device, which stays in the system.
///
/// boringtun logs every peer that falls silent as an ERROR of target `boringtun`; a program with many peers filters
/// that target out. Our own events are: endpoints at DEBUG, single drops at TRACE, the tunnel's end at ERROR.
pub struct Engine {
    keys: OwnKeys,
    listen_port: u16,
    /// What the peers are meant to be. Held while a change is applied, so that changes come one after the other.
    desired: Mutex<Desired>,
    commands: Sender<Command>,
    wakeup: Arc<Wakeup>,
    end: Arc<OnceLock<Option<String>>>,
    thread: Option<JoinHandle<()>>,
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

/// Why a tunnel did not start.
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
    /// No thread, or nothing to wait with.
    #[error("the tunnel's thread could not be started: {0}")]
    Thread(#[source] io::Error),
}

impl Engine {
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
        let port = options.listen_port;
        let socket = UdpSocket::bind(port, options.fwmark).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => EngineError::PortInUse { port },
            _ => EngineError::Socket { port, source },
        })?;
        let listen_port = socket.port();
        let wakeup = Arc::new(Wakeup::new().map_err(EngineError::Thread)?);
        let poll = Poll::new(&wakeup, &socket, &tun).map_err(EngineError::Thread)?;
        let core = Core::new(tun, socket, &private_key);
        let (commands, inbox) = mpsc::channel();
        let end = Arc::new(OnceLock::new());
        let thread = std::thread::Builder::new()
            .name("nexa-tunnel".to_owned())
            .spawn({
                let (wakeup, end) = (Arc::clone(&wakeup), End(Arc::clone(&end)));
                move || end.set(event_loop::run(core, &poll, &wakeup, &inbox))
            })
            .map_err(EngineError::Thread)?;
        let desired = Mutex::new(Desired::new());
        let keys = OwnKeys::new(private_key);
        Ok(Self { keys, listen_port, desired, commands, wakeup, end, thread: Some(thread) })
    }

    /// The UDP port it listens on.
    pub const fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// The public key that peers know this tunnel by.
    pub fn public_key(&self) -> PublicKey {
        self.keys.public()
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
        validate(self.public_key(), &peers)?;
        let mut desired = self.desired();
        let (update, changes) = desired.update_to(&peers, &self.keys, Instant::now());
        let removed = desired.indexes_of(&update.removed);
        let added: Vec<_> = update.added.iter().map(|added| added.peer.index).collect();
        receivers.admit(&added);
        self.ask(|done| Command::Apply(update, done))?;
        receivers.retire(&removed);
        desired.replace(peers);
        Ok(changes)
    }

    /// Tells where peers were last seen, for those whose place is not known (after a restart), and greets the ones
    /// without a session, 200 a second. Keys that are no peers are passed over.
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

    fn desired(&self) -> MutexGuard<'_, Desired> {
        // It is changed in one step at the end, so a panic elsewhere leaves it whole.
        self.desired.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Leaves word of the thread's end, also when it panics.
struct End(Arc<OnceLock<Option<String>>>);

impl End {
    fn set(&self, result: io::Result<()>) {
        let failure = result.err().map(|error| match error.raw_os_error() {
            Some(libc::EBADFD) => "the interface was deleted".to_owned(),
            _ => format!("the device or the socket failed: {error}"),
        });
        if let Some(failure) = &failure {
            tracing::error!(%failure, "the tunnel has stopped");
        }
        let _ = self.0.set(failure);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.set(Some("the tunnel's thread panicked".to_owned()));
        }
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
