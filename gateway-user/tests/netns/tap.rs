//! An interface from below: any packet goes out, and all that come in are seen.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// A packet socket on a layer-3 interface.
pub struct Tap {
    socket: OwnedFd,
    interface: i32,
}

const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

impl Tap {
    /// Opens it in the thread's namespace.
    pub fn open(interface: &str) -> Self {
        let name = CString::new(interface).unwrap();
        // SAFETY: a valid string.
        let interface = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert_ne!(interface, 0, "{}", io::Error::last_os_error());
        // SAFETY: no pointers; the descriptor is this value's own.
        let socket = unsafe {
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, ALL.into());
            assert!(socket >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(socket)
        };
        let tap = Self { socket, interface: interface.cast_signed() };
        let address = tap.address(ALL);
        // SAFETY: a valid address of this length.
        let bound = unsafe {
            libc::bind(
                tap.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        tap
    }

    fn address(&self, protocol: u16) -> libc::sockaddr_ll {
        // SAFETY: all zeros are a valid value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = self.interface;
        address
    }

    /// Sends a packet out of the interface.
    pub fn send(&self, packet: &[u8]) {
        let protocol = if packet[0] >> 4 == 6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP };
        let address = self.address((protocol as u16).to_be());
        // SAFETY: valid bytes and a valid address, each of the length given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        assert_eq!(sent, packet.len().cast_signed(), "{}", io::Error::last_os_error());
    }

    /// The next packet that came in; `None` once nothing did for `limit`.
    pub fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        let mut buffer = [0_u8; 65536];
        loop {
            let mut ready = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid entry.
            let count = unsafe { libc::poll(&raw mut ready, 1, i32::try_from(limit.as_millis()).unwrap()) };
            if count == 0 {
                return None;
            }
            let mut from = self.address(0);
            let mut from_bytes = size_of_val(&from) as libc::socklen_t;
            // SAFETY: a buffer and an address, each of the length given.
            let length = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut from_bytes,
                )
            };
            let length = usize::try_from(length).unwrap_or_else(|_| panic!("{}", io::Error::last_os_error()));
            if from.sll_pkttype != libc::PACKET_OUTGOING {
                return Some(buffer[..length].to_vec());
            }
        }
    }
}
