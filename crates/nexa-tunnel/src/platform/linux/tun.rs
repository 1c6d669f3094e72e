use std::ffi::CString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{check, check_length};
use crate::offload::HEADER;
use crate::platform::TunError;

/// An open TUN device. Dropping it closes the device; a persistent one stays in the system, with its addresses, routes
/// and programs. Nothing here ever deletes one.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    /// A socket in the device's network namespace, to ask about the link.
    link: OwnedFd,
    name: String,
    index: u32,
    mtu: AtomicUsize,
    takes_datagrams: bool,
}

impl Tun {
    /// Opens the device `name` and makes it persistent; takes over an existing one as it is, else creates it.
    /// Sets its MTU; addresses, routes and bringing it up are the caller's.
    ///
    /// # Errors
    /// [`TunError`]; each says what to do.
    pub fn open_persistent(name: &str, mtu: u16) -> Result<Self, TunError> {
        let tun = Self::open(name, mtu)?;
        // SAFETY: TUNSETPERSIST takes its argument by value.
        check(unsafe { libc::ioctl(tun.fd.as_raw_fd(), libc::TUNSETPERSIST, 1) })
            .map_err(|source| explain(name, "TUNSETPERSIST", source))?;
        Ok(tun)
    }

    /// [`Tun::open_persistent`] of a device that goes when it is closed, unless it was there before.
    ///
    /// # Errors
    /// [`TunError`]; each says what to do.
    pub fn open(name: &str, mtu: u16) -> Result<Self, TunError> {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty()
            || name.len() >= libc::IFNAMSIZ
            || !name.chars().all(valid)
            || name == "."
            || name == ".."
        {
            return Err(TunError::Name(name.to_owned()));
        }
        if mtu < 1280 {
            return Err(TunError::Mtu(mtu));
        }
        let fd = open_driver().map_err(|source| explain(name, "opening /dev/net/tun", source))?;
        let mut request = interface_request(name);
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
            .map_err(|source| explain(name, "TUNSETIFF", source))?;
        let takes_datagrams = offload(&fd).map_err(|source| explain(name, "TUNSETVNETHDRSZ", source))?;
        let link = any_socket().map_err(|source| explain(name, "making a socket", source))?;
        set_mtu(&link, name, mtu).map_err(|source| explain(name, "setting the MTU", source))?;
        let index = index_of(name).map_err(|source| explain(name, "finding its index", source))?;
        Ok(Self {
            fd,
            link,
            name: name.to_owned(),
            index,
            mtu: AtomicUsize::new(mtu.into()),
            takes_datagrams,
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index in its network namespace.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The link's MTU in bytes, as it was when a tunnel last looked.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Looks at the link's MTU, which `ip link set mtu` may have changed. What cannot be asked stays: the interface may
    /// have been moved to another namespace.
    pub(crate) fn follow_mtu(&self) {
        // By descriptor first: the interface may have another name by now.
        let mut request = interface_request("");
        // SAFETY: TUNGETIFF writes one ifreq, and SIOCGIFMTU reads its name and writes ifru_mtu.
        let mtu = unsafe {
            let named = libc::ioctl(self.fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request);
            let asked =
                named == 0 && libc::ioctl(self.link.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) == 0;
            asked.then_some(request.ifr_ifru.ifru_mtu)
        };
        if let Some(mtu) = mtu.and_then(|mtu| usize::try_from(mtu).ok()) {
            self.mtu.store(mtu, Ordering::Relaxed);
        }
    }

    /// Whether datagrams of one flow may be written together.
    pub(super) const fn takes_datagrams(&self) -> bool {
        self.takes_datagrams
    }

    /// Reads one frame: a virtio-net header, then a packet of up to 64 KiB. `None` when there is none now.
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // SAFETY: the buffer is valid for writes of its length.
        let result = unsafe { libc::read(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check_length(result) {
            Ok(length) => Ok(Some(length)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes one frame, a virtio-net header first, that lies in pieces.
    pub(super) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        // SAFETY: an IoSlice is laid out as an iovec, and every piece is valid for reads of its length.
        let result = unsafe {
            let count = pieces.len() as libc::c_int;
            libc::writev(self.fd.as_raw_fd(), pieces.as_ptr().cast(), count)
        };
        check_length(result).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open_driver() -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path is a C string; the descriptor that comes back is ours alone.
    unsafe {
        let fd = check(libc::open(c"/dev/net/tun".as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Lets the kernel hand over TCP and datagrams uncut and checksums undone. A kernel that cannot do that does it itself,
/// so only the header's size must succeed. Returns whether datagrams can be written together too (Linux 6.2).
fn offload(fd: &OwnedFd) -> io::Result<bool> {
    let size = HEADER as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads an int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })?;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let set =
        |wanted: libc::c_uint| check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, wanted) });
    let streams = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    if set(streams | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok() {
        return Ok(true);
    }
    match set(streams) {
        Ok(_) => tracing::info!("the TUN device takes datagrams one by one (Linux 6.2 joins them)"),
        Err(error) => {
            tracing::warn!(%error, "the TUN device has no segmentation offload; reading packet by packet");
        }
    }
    Ok(false)
}

fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data, for which all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn any_socket() -> io::Result<OwnedFd> {
    // SAFETY: the descriptor that comes back is ours alone.
    unsafe {
        let fd = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Sets the MTU when it is another: a needless change would tell everyone who watches the link.
fn set_mtu(link: &OwnedFd, name: &str, mtu: u16) -> io::Result<()> {
    let mut request = interface_request(name);
    // SAFETY: SIOCGIFMTU writes ifru_mtu of the ifreq and SIOCSIFMTU reads it.
    unsafe {
        check(libc::ioctl(link.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request))?;
        if request.ifr_ifru.ifru_mtu != libc::c_int::from(mtu) {
            request.ifr_ifru.ifru_mtu = mtu.into();
            check(libc::ioctl(link.as_raw_fd(), libc::SIOCSIFMTU, &raw mut request))?;
        }
    }
    Ok(())
}

/// The number of the interface `name` in the calling thread's network namespace.
pub(crate) fn index_of(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: the name is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn explain(name: &str, step: &'static str, source: io::Error) -> TunError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) if step.starts_with("opening") => TunError::NoDriver,
        Some(libc::EPERM | libc::EACCES) => TunError::NotPermitted { name },
        Some(libc::EBUSY) => TunError::Busy { name },
        Some(libc::EINVAL) if step == "TUNSETIFF" => TunError::OtherKind { name },
        _ => TunError::System { name, step, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_mtus_are_checked_before_anything_is_opened() {
        for name in ["", "sixteen-bytes-xx", "a/b", "a b", "..", "wg%d"] {
            assert!(matches!(Tun::open_persistent(name, 1420), Err(TunError::Name(_))), "{name:?}");
        }
        assert!(matches!(Tun::open_persistent("wg0", 1279), Err(TunError::Mtu(1279))));
    }

    #[test]
    fn the_kernels_refusals_say_what_to_do() {
        let text = |step, errno| explain("wg0", step, io::Error::from_raw_os_error(errno)).to_string();
        assert!(text("opening /dev/net/tun", libc::ENOENT).contains("modprobe tun"));
        assert!(text("TUNSETIFF", libc::EPERM).contains("CAP_NET_ADMIN"));
        assert!(text("TUNSETIFF", libc::EBUSY).contains("another process"));
        assert!(text("TUNSETIFF", libc::EINVAL).contains("not a TUN device"));
        assert!(text("TUNSETIFF", libc::ENOMEM).contains("TUNSETIFF failed"));
    }
}
