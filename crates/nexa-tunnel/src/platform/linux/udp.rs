use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Once;

use super::address::{Family, Name};
use super::check;

/// Room for bursts: a loop that sleeps a scheduler's turn must not lose what arrives meanwhile.
const BUFFER_BYTES: libc::c_int = 8 << 20;

/// The UDP socket of the tunnel: one for both families where the host has IPv6.
pub(crate) struct UdpSocket {
    fd: OwnedFd,
    family: Family,
    port: u16,
    cuts: bool,
}

impl UdpSocket {
    /// Binds `port` on all addresses; 0 takes a free one.
    pub(crate) fn bind(port: u16, fwmark: Option<u32>) -> io::Result<Self> {
        match Self::bind_as(Family::Dual, port, fwmark) {
            // The kernel has no IPv6, or it is switched off.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
                Self::bind_as(Family::V4Only, port, fwmark)
            }
            done => done,
        }
    }

    fn bind_as(family: Family, port: u16, fwmark: Option<u32>) -> io::Result<Self> {
        let (domain, any) = match family {
            Family::Dual => (libc::AF_INET6, (std::net::Ipv6Addr::UNSPECIFIED, port).into()),
            Family::V4Only => (libc::AF_INET, (std::net::Ipv4Addr::UNSPECIFIED, port).into()),
        };
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the descriptor that comes back is ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(domain, kind, 0))?) };
        let mut socket = Self { fd, family, port, cuts: false };
        if let Some(mark) = fwmark {
            socket.set_mark(mark)?;
        }
        // As the kernel's WireGuard: datagrams may be fragmented, the tunnel's MTU is what avoids it.
        match family {
            Family::Dual => {
                socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
                socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
                socket.set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
            }
            Family::V4Only => socket.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
        }
        socket.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        for (force, polite) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            socket
                .set(libc::SOL_SOCKET, force, BUFFER_BYTES)
                .or_else(|_| socket.set(libc::SOL_SOCKET, polite, BUFFER_BYTES))?;
        }
        socket.port = socket.bind_to(any)?;
        socket.join_and_cut();
        Ok(socket)
    }

    /// Has the kernel join datagrams that come (since 5.0), and finds out whether it cuts what goes (since 4.18): one
    /// that does not know that would send it as one datagram, without a word.
    fn join_and_cut(&mut self) {
        static SAID: Once = Once::new();
        self.cuts = self.set(libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let joins = self.set(libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        if !(self.cuts && joins) {
            SAID.call_once(|| {
                tracing::warn!(
                    cuts = self.cuts,
                    joins,
                    "this kernel does not handle UDP datagrams in batches (Linux 5.0 does); each goes by itself"
                );
            });
        }
    }

    fn bind_to(&self, any: std::net::SocketAddr) -> io::Result<u16> {
        let (name, mut length) =
            Name::encode(any, self.family).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        let mut bound = Name::empty();
        // SAFETY: the names are socket addresses of at least the length given.
        unsafe {
            check(libc::bind(self.fd.as_raw_fd(), (&raw const name).cast(), length))?;
            check(libc::getsockname(self.fd.as_raw_fd(), (&raw mut bound).cast(), &raw mut length))?;
        }
        bound
            .decode()
            .map(|address| address.port())
            .ok_or_else(|| io::Error::other("the socket has no address"))
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the value is valid for reads of the length given.
        check(unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, (&raw const value).cast(), length)
        })
        .map(|_| ())
    }

    /// Sets the mark of every datagram sent; 0 is none.
    pub(crate) fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())
    }

    /// The port it is bound to.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the kernel cuts a message into datagrams.
    pub(super) const fn cuts(&self) -> bool {
        self.cuts
    }

    pub(super) const fn family(&self) -> Family {
        self.family
    }

    /// Waits up to `millis` for room in the send buffer.
    pub(super) fn wait_writable(&self, millis: libc::c_int) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one pollfd is passed, as the count says.
        unsafe { libc::poll(&raw mut poll, 1, millis) == 1 }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
