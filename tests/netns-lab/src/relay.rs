//! A hostile line between gateway and control plane: it passes the gateway's stream on, and can delay, cut, damage and
//! repeat what the control plane sends.

use std::{
    io::{self, Read, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::namespace::Namespace;

/// What happens to what the control plane sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Pass,
    /// Connections are accepted and closed at once.
    Refuse,
    /// Bytes come one handful at a time.
    Drip {
        /// How many bytes at a time.
        bytes: usize,
        /// How long between them.
        pause: Duration,
    },
    /// The next snapshot ends in the middle of its frame, and so does the connection; then [`Mode::Pass`].
    Cut,
    /// The next snapshot is half as long, in a frame that is whole; then [`Mode::Pass`].
    Truncate,
    /// The next snapshot has another content than its seal says; then [`Mode::Pass`].
    Damage,
    /// Before the next snapshot come earlier ones, as they were; then [`Mode::Pass`].
    Replay(Vec<Frame>),
}

/// A text frame of a WebSocket from a server, without its header.
pub type Frame = Vec<u8>;

/// The line. It lasts as long as the process.
#[derive(Clone, Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    mode: Mode,
    /// Every snapshot that came by.
    snapshots: Vec<Frame>,
    /// The gateway's side of the newest connection, and its number; one that was broken has none.
    gateway: Option<TcpStream>,
    number: u64,
}

impl Relay {
    /// Listens at `address` inside `namespace` and leads to `target`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(namespace: &Namespace, address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind(address))?.context("the relay cannot listen")?;
        let relay = Self { address, shared: Arc::default() };
        let (handle, shared) = (Arc::new(namespace.handle()?), Arc::clone(&relay.shared));
        thread::spawn(move || {
            for gateway in listener.incoming().flatten() {
                let (handle, shared) = (Arc::clone(&handle), Arc::clone(&shared));
                thread::spawn(move || {
                    // Either side may end at any time; the other is then closed, and that is all.
                    let _ = handle.enter().map(|()| serve(&gateway, target, &shared));
                    drop(gateway.shutdown(Shutdown::Both));
                });
            }
        });
        Ok(relay)
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens from now on.
    pub fn set(&self, mode: Mode) {
        lock(&self.shared).mode = mode;
    }

    /// Whether the last mode is done with, or never was another than [`Mode::Pass`].
    pub fn passes(&self) -> bool {
        lock(&self.shared).mode == Mode::Pass
    }

    /// Every snapshot that came by, the oldest first.
    pub fn snapshots(&self) -> Vec<Frame> {
        lock(&self.shared).snapshots.clone()
    }

    /// Breaks the gateway's connection; what happens from now on happens to the next one.
    pub fn cut(&self, mode: Mode) {
        let mut shared = lock(&self.shared);
        shared.mode = mode;
        shared.number += 1;
        if let Some(gateway) = shared.gateway.take() {
            drop(gateway.shutdown(Shutdown::Both));
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(gateway: &TcpStream, target: SocketAddr, shared: &Mutex<Shared>) -> Result<()> {
    ensure!(lock(shared).mode != Mode::Refuse, "refused");
    let control = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    control.set_nodelay(true)?;
    gateway.set_nodelay(true)?;
    let number = {
        let mut shared = lock(shared);
        shared.gateway = Some(gateway.try_clone()?);
        shared.number += 1;
        shared.number
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(io::copy(&mut &*gateway, &mut &control));
            drop(control.shutdown(Shutdown::Both));
        });
        let outcome = to_gateway(&control, gateway, shared, number);
        drop(gateway.shutdown(Shutdown::Both));
        drop(control.shutdown(Shutdown::Both));
        outcome
    })
}

/// Passes on the server's answer to the upgrade, then frame by frame (RFC 6455, section 5.2). A server's frames are not
/// masked, and ours come in one piece.
fn to_gateway(
    mut control: &TcpStream,
    gateway: &TcpStream,
    shared: &Mutex<Shared>,
    number: u64,
) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        control.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    send(gateway, &head, shared)?;
    if !head.starts_with(b"HTTP/1.1 101") {
        io::copy(&mut control, &mut &*gateway)?;
        return Ok(());
    }
    loop {
        let (first, payload) = read_frame(control)?;
        if !payload.starts_with(b"{\"snapshot\"") {
            send(gateway, &frame(first, &payload), shared)?;
            continue;
        }
        let mode = strike(shared, number, &payload);
        match mode {
            Mode::Cut => {
                let whole = frame(first, &payload);
                send(gateway, &whole[..whole.len() / 2], shared)?;
                return Ok(());
            }
            Mode::Truncate => send(gateway, &frame(first, &payload[..payload.len() / 2]), shared)?,
            Mode::Damage => send(gateway, &frame(first, &damaged(payload)), shared)?,
            Mode::Replay(earlier) => {
                for snapshot in earlier {
                    send(gateway, &frame(first, &snapshot), shared)?;
                }
                send(gateway, &frame(first, &payload), shared)?;
            }
            Mode::Pass | Mode::Refuse | Mode::Drip { .. } => send(gateway, &frame(first, &payload), shared)?,
        }
    }
}

/// Notes a snapshot that came by on a connection and takes the mode that is for one snapshot.
fn strike(shared: &Mutex<Shared>, number: u64, snapshot: &[u8]) -> Mode {
    let mut shared = lock(shared);
    if shared.number != number {
        // The connection is broken, and the mode is for another.
        return Mode::Pass;
    }
    shared.snapshots.push(snapshot.to_vec());
    match shared.mode {
        Mode::Pass | Mode::Refuse | Mode::Drip { .. } => Mode::Pass,
        Mode::Cut | Mode::Truncate | Mode::Damage | Mode::Replay(_) => std::mem::take(&mut shared.mode),
    }
}

fn send(mut gateway: &TcpStream, bytes: &[u8], shared: &Mutex<Shared>) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // Asked anew for each handful, so that a slow line can become a fast one within a frame.
        let mode = lock(shared).mode.clone();
        let count = match mode {
            Mode::Drip { bytes, pause } => {
                thread::sleep(pause);
                bytes.min(rest.len())
            }
            _ => rest.len(),
        };
        gateway.write_all(&rest[..count])?;
        rest = &rest[count..];
    }
    Ok(())
}

/// Reads a frame: its first byte, and its payload.
fn read_frame(mut stream: impl Read) -> Result<(u8, Frame)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    ensure!(head[1] & 0x80 == 0, "a server masks a frame");
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            usize::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            usize::try_from(u64::from_be_bytes(length))?
        }
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((head[0], payload))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// The same frame with an effect turned round in its policy, or another port: still JSON, and still a snapshot.
fn damaged(payload: Frame) -> Frame {
    let text = String::from_utf8_lossy(&payload).into_owned();
    text.replace("\"listen_port\":", "\"listen_port\":1").replace("\"deny\"", "\"allow\"").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{damaged, frame, read_frame};

    #[test]
    fn frames_of_every_length_are_read_back() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 100_000] {
            let payload = vec![b'x'; length];
            let written = frame(0x81, &payload);
            assert_eq!(read_frame(&written[..]).expect("a frame"), (0x81, payload));
        }
        assert!(read_frame(&[0x81, 0x80][..]).is_err(), "masked");
        assert!(read_frame(&[0x81, 5, b'x'][..]).is_err(), "too short");
    }

    #[test]
    fn damage_leaves_json_of_another_content() {
        let before = br#"{"snapshot":{"network":{"listen_port":51900}}}"#.to_vec();
        let after = damaged(before.clone());
        assert_ne!(after, before);
        serde_json::from_slice::<serde_json::Value>(&after).expect("JSON");
    }
}
