use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use zeroize::Zeroizing;

use super::answer::{self, Told};
use super::merge::merge;
use super::request::{self, Request, Set};
use crate::{Changes, Engine, EngineError, PeerError, PrivateKey};

/// Where `wg` looks.
const FOLDER: &str = "/var/run/wireguard";
/// The longest line that means anything is one with an endpoint.
const LINE_BYTES: usize = 256;
/// Room for 10,000 peers with hundreds of allowed IPs each.
const REQUEST_BYTES: usize = 64 << 20;
/// Requests that are answered at once; what comes besides is turned away.
const CONNECTIONS: usize = 16;
/// Whoever says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket of one tunnel, for root alone. It is removed when this is dropped.
pub struct UserspaceApi {
    listener: UnixListener,
    path: PathBuf,
    /// The file that is ours, as somebody may put another in its place.
    file: (u64, u64),
    /// The key that the tunnel was given. Held while a request is answered, so that one comes after the other.
    own: Mutex<Option<PrivateKey>>,
    connections: AtomicUsize,
}

/// Why a tunnel has no socket.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another process answers there.
    #[error("{} is another running tunnel's socket; stop that one, or choose another interface", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("{} could not be made: {source}; run as root, with {FOLDER} writable", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl UserspaceApi {
    /// Makes the socket of `interface`, in place of one that a dead process has left. The tunnel counts as having no
    /// key of its own: `wg` is to give it one.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn bind(interface: &str) -> Result<Self, ApiError> {
        Self::bind_in(Path::new(FOLDER), interface)
    }

    fn bind_in(folder: &Path, interface: &str) -> Result<Self, ApiError> {
        let path = folder.join(format!("{interface}.sock"));
        let explain = |source| ApiError::System { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(explain)?;
        match UnixStream::connect(&path) {
            Ok(_) => return Err(ApiError::InUse(path)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(&path).map_err(explain)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(explain(error)),
        }
        let listener = listen(&path).map_err(explain)?;
        let metadata = fs::symlink_metadata(&path).map_err(explain)?;
        let file = (metadata.dev(), metadata.ino());
        listener.set_nonblocking(true).map_err(explain)?;
        Ok(Self { listener, path, file, own: Mutex::new(None), connections: AtomicUsize::new(0) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the socket is still in its place. Who deletes it wants the tunnel to end.
    pub fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.file)
    }

    /// Answers who has connected, each in a thread of its own. Does not wait for anybody: call it when
    /// the socket is readable.
    pub fn accept(self: &Arc<Self>, engine: &Arc<Engine>) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
                self.connections.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            let (api, engine) = (Arc::clone(self), Arc::clone(engine));
            let spawned = thread::Builder::new().name("nexa-wg-api".to_owned()).spawn(move || {
                if let Err(error) = api.converse(&stream, &engine) {
                    tracing::debug!(%error, "a conversation on the userspace API ended");
                }
                api.connections.fetch_sub(1, Ordering::AcqRel);
            });
            if spawned.is_err() {
                self.connections.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Answers requests until the other side hangs up.
    fn converse(&self, stream: &UnixStream, engine: &Engine) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader)? {
            let (lines, errno) = match request {
                Ok(request) => self.answer(&request, engine),
                Err(TooLarge) => (None, -libc::E2BIG),
            };
            let mut out = stream;
            if let Some(lines) = &lines {
                out.write_all(lines.as_bytes())?;
            }
            out.write_all(format!("errno={errno}\n\n").as_bytes())?;
            if errno == -libc::E2BIG {
                // Where the next request would begin is not known.
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&self, request: &[u8], engine: &Engine) -> (Option<Zeroizing<String>>, i32) {
        // It is changed in one step, so a panic elsewhere leaves it whole.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        match request::parse(request) {
            Ok(Request::Get) if engine.is_running() => {
                let told = Told {
                    private_key: own.as_ref(),
                    listen_port: engine.listen_port(),
                    fwmark: engine.fwmark(),
                    configured: &engine.configured(),
                    statuses: &engine.peers(),
                };
                (Some(answer::write(&told)), 0)
            }
            Ok(Request::Get) => (None, libc::ENODEV),
            Ok(Request::Set(set)) => match change(set, &mut own, engine) {
                Ok(()) => (None, 0),
                Err(error) => {
                    tracing::warn!(%error, "a change was refused");
                    // Negative, as `wg` takes it for a `set`; for a `get` it reads digits alone.
                    (None, -errno(&error))
                }
            },
            Err(error) => {
                tracing::warn!(%error, "a request on the userspace API was not understood");
                (None, -libc::EINVAL)
            }
        }
    }
}

impl Drop for UserspaceApi {
    fn drop(&mut self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for UserspaceApi {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn change(set: Set, own: &mut Option<PrivateKey>, engine: &Engine) -> Result<(), EngineError> {
    let merged = (!set.peers.is_empty() || set.peers_before == request::Before::Replaced)
        .then(|| merge(engine.configured(), &set));
    let (peers, moved) = merged.map_or_else(|| (None, Vec::new()), |all| (Some(all.peers), all.moved));
    let private_key = set.private_key.as_ref().map(|key| {
        // A tunnel without a key is one whose key nobody knows.
        key.clone().unwrap_or_else(PrivateKey::generate)
    });
    engine.change(Changes { private_key, listen_port: set.listen_port, fwmark: set.fwmark, peers, moved })?;
    if let Some(key) = set.private_key {
        *own = key;
    }
    Ok(())
}

/// The number that `wg` makes a sentence of.
fn errno(error: &EngineError) -> i32 {
    match error {
        EngineError::PortInUse { .. } | EngineError::Peers(PeerError::Overlap { .. }) => libc::EADDRINUSE,
        EngineError::Peers(PeerError::Stopped) => libc::ENODEV,
        EngineError::Peers(_) => libc::EINVAL,
        EngineError::Socket { source, .. }
        | EngineError::Mark { source, .. }
        | EngineError::Thread(source) => source.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Nobody but the owner may connect, from the first moment on.
fn listen(path: &Path) -> io::Result<UnixListener> {
    // SAFETY: it changes what files of this process are made with, and nothing else.
    let before = unsafe { libc::umask(0o077) };
    let listener = UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A line or a request beyond what is taken.
struct TooLarge;

/// Reads the lines up to an empty one; `None` when the other side has hung up.
fn read(reader: &mut impl BufRead) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, TooLarge>>> {
    let mut request = Zeroizing::new(Vec::new());
    loop {
        let start = request.len();
        let count = reader.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut request)?;
        if count == 0 {
            return Ok(None);
        }
        if request.last() != Some(&b'\n') {
            // Cut off by the limit, or by the other side.
            return Ok((count > LINE_BYTES).then_some(Err(TooLarge)));
        }
        request.pop();
        if request.len() == start {
            request.pop();
            return Ok(Some(Ok(request)));
        }
        if request.len() > REQUEST_BYTES {
            return Ok(Some(Err(TooLarge)));
        }
        request.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(bytes: &[u8]) -> Vec<Option<String>> {
        let mut reader = BufReader::with_capacity(7, bytes);
        let mut all = Vec::new();
        while let Some(request) = read(&mut reader).unwrap() {
            let whole = request.ok().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            let end = whole.is_none();
            all.push(whole);
            if end {
                break;
            }
        }
        all
    }

    #[test]
    fn requests_end_with_an_empty_line() {
        let two = requests(b"get=1\n\nset=1\nlisten_port=1\n\n");
        assert_eq!(two, [Some("get=1".to_owned()), Some("set=1\nlisten_port=1".to_owned())]);
        assert_eq!(requests(b"\n"), [Some(String::new())]);
    }

    #[test]
    fn a_request_that_is_cut_off_is_none() {
        assert!(requests(b"set=1\nlisten_port=1\n").is_empty());
        assert!(requests(b"set=1\nlisten_po").is_empty());
    }

    #[test]
    fn lines_are_bounded() {
        let line = |length: usize| [b"set=1\n".as_slice(), &vec![b'x'; length], b"\n\n"].concat();
        assert!(requests(&line(LINE_BYTES))[0].is_some());
        assert_eq!(requests(&line(LINE_BYTES + 1)), [None]);
    }

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_is_replaced() {
        let folder = std::env::temp_dir().join(format!("nexa-uapi-{}", std::process::id()));
        let first = UserspaceApi::bind_in(&folder, "wg0").unwrap();
        assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(UserspaceApi::bind_in(&folder, "wg0"), Err(ApiError::InUse(_))));
        assert!(first.is_in_place());
        drop(first);
        assert!(!folder.join("wg0.sock").exists(), "it goes with its tunnel");

        drop(UnixListener::bind(folder.join("wg0.sock")).unwrap());
        let second = UserspaceApi::bind_in(&folder, "wg0").unwrap();
        fs::remove_file(second.path()).unwrap();
        assert!(!second.is_in_place());
        fs::write(second.path(), "another's").unwrap();
        assert!(!second.is_in_place());
        drop(second);
        assert!(folder.join("wg0.sock").exists(), "what is another's stays");
        fs::remove_dir_all(&folder).unwrap();
    }
}
