//! Attempts to reach something, from the namespace of the calling thread.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, connect as connect_socket,
        setsockopt, socket, sockopt,
    },
};
use ureq::Agent;

/// The hop limit of packets: an unusual one tells in a capture who sent them, as address translation keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hops {
    /// The system's.
    Usual,
    /// [`MARKED_HOPS`]: whoever sends so must not get through.
    Marked,
}

/// The hop limit that marks packets of a client that is granted nothing.
pub const MARKED_HOPS: u8 = 99;

/// A connection's receive buffer, bytes.
const WINDOW_BYTES: usize = 256 << 10;

/// Connects by TCP.
///
/// # Errors
/// `TimedOut` when there is no answer, `ConnectionRefused` and others as the network says.
pub fn connect(address: SocketAddr, limit: Duration, hops: Hops) -> io::Result<TcpStream> {
    let attempt = Attempt::start(address, hops)?;
    let mut polled = [PollFd::new(attempt.0.as_fd(), PollFlags::POLLOUT)];
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    if poll(&mut polled, limit)? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    attempt.finish()
}

/// Tries again and again, a new attempt every two milliseconds, until one gets through, and says when it did.
///
/// # Errors
/// When none does until `deadline`, or an attempt cannot be made.
pub fn first_connect(address: SocketAddr, deadline: Instant) -> Result<Instant> {
    let mut attempts = Vec::new();
    while Instant::now() < deadline {
        attempts.push(Attempt::start(address, Hops::Usual).context("cannot try to connect")?);
        // An attempt whose first packet was dropped tries again after a second: by then a newer one was through.
        if attempts.len() > 400 {
            attempts.remove(0);
        }
        let mut polled: Vec<_> =
            attempts.iter().map(|attempt| PollFd::new(attempt.0.as_fd(), PollFlags::POLLOUT)).collect();
        let ready = poll(&mut polled, PollTimeout::from(2_u8)).context("cannot wait")?;
        let now = Instant::now();
        let first = polled.iter().position(|polled| polled.any() == Some(true));
        drop(polled);
        if let (true, Some(first)) = (ready > 0, first) {
            match attempts.remove(first).finish() {
                Ok(_) => return Ok(now),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    return Err(error).with_context(|| format!("{address} has no server"));
                }
                Err(_) => {}
            }
        }
    }
    anyhow::bail!("nothing got through to {address}")
}

/// Downloads something small by HTTP, on a new connection.
///
/// # Errors
/// When there is no complete answer with status 200 in time.
pub fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .max_idle_connections(0)
        .timeout_global(Some(limit))
        .build()
        .into();
    let url = format!("http://{address}{path}");
    let mut answer = agent.get(&url).call().with_context(|| format!("GET {url}"))?;
    answer.body_mut().read_to_string().with_context(|| format!("GET {url}"))
}

/// A connection that is being made.
struct Attempt(OwnedFd);

impl Attempt {
    fn start(address: SocketAddr, hops: Hops) -> io::Result<Self> {
        let (family, to): (_, SockaddrStorage) = match address {
            SocketAddr::V4(address) => (AddressFamily::Inet, SocketAddrV4::into(address)),
            SocketAddr::V6(address) => (AddressFamily::Inet6, SocketAddrV6::into(address)),
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Stream, flags, None)?;
        if hops == Hops::Marked {
            mark(&socket, address.ip())?;
        }
        // Closing ends it with one packet, and not with a conversation that disturbs what is measured next.
        setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        // Bounds what is in flight: bytes that wait before a slow client were let through earlier.
        setsockopt(&socket, sockopt::RcvBuf, &WINDOW_BYTES)?;
        match connect_socket(socket.as_raw_fd(), &to as &dyn SockaddrLike) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Self(socket)),
            Err(error) => Err(error.into()),
        }
    }

    fn finish(self) -> io::Result<TcpStream> {
        let stream = TcpStream::from(self.0);
        match stream.take_error()? {
            Some(error) => Err(error),
            None => stream.set_nonblocking(false).map(|()| stream),
        }
    }
}

fn mark(socket: &OwnedFd, to: IpAddr) -> nix::Result<()> {
    let hops = i32::from(MARKED_HOPS);
    match to {
        IpAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Ttl, &hops),
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6Ttl, &hops),
    }
}
