//! What the driver of an interface can do with XDP, as generic netlink's family `netdev` tells it since Linux 6.3.

use std::io;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::AsRawFd as _;

/// linux/genetlink.h: the family that knows the others.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// linux/netdev.h.
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
/// Programs may pass, drop and abort natively.
const XDP_BASIC: u64 = 1;

/// linux/netlink.h.
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const HEADERS: usize = 16 + 4;

/// Whether the interface's driver runs XDP programs; `None` where the kernel does not tell.
///
/// # Errors
/// When there is no such interface, or netlink fails.
pub fn takes_native_xdp(index: u32) -> io::Result<Option<bool>> {
    let family = match ask(CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0") {
        Ok(answer) => attribute(&answer, FAMILY_ID),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(family) = family.map(u16::from_ne_bytes) else { return Ok(None) };
    let answer = ask(family, DEV_GET, DEV_IFINDEX, &index.to_ne_bytes())?;
    let features = attribute(&answer, DEV_XDP_FEATURES).map(u64::from_ne_bytes);
    Ok(features.map(|features| features & XDP_BASIC != 0))
}

/// Asks a family with one attribute; returns the answer's attributes.
fn ask(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &request(family, command, kind, value), &kernel, MsgFlags::empty())?;
    let mut answer = vec![0; 16 << 10];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let answered = u16::from_ne_bytes(bytes(&answer, 4).ok_or_else(malformed)?);
    if answered == ERROR {
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(
            bytes(&answer, 16).ok_or_else(malformed)?,
        )));
    }
    answer.get(HEADERS..).map(<[u8]>::to_vec).ok_or_else(malformed)
}

fn request(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = u16::try_from(4 + value.len()).expect("attributes here are short");
    let padded = usize::from(attribute).next_multiple_of(4);
    let length = u32::try_from(HEADERS + padded).expect("attributes here are short");
    let mut request = Vec::with_capacity(HEADERS + padded);
    request.extend(length.to_ne_bytes());
    request.extend([family.to_ne_bytes(), REQUEST.to_ne_bytes()].concat());
    // Sequence and sender; one question is under way at a time.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend([attribute.to_ne_bytes(), kind.to_ne_bytes()].concat());
    request.extend(value);
    request.resize(HEADERS + padded, 0);
    request
}

/// The start of the first attribute of a kind.
fn attribute<const N: usize>(mut attributes: &[u8], wanted: u16) -> Option<[u8; N]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes(attributes, 0)?));
        // The upper two bits say how the value is written.
        let kind = u16::from_ne_bytes(bytes(attributes, 2)?) & 0x3fff;
        if kind == wanted {
            return bytes(attributes.get(..length)?, 4);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_never_beyond_their_end() {
        let attributes = [6, 0, 2, 0, 9, 9, 0, 0, 12, 0, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(attribute(&attributes, 3), Some([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(attribute(&attributes, 2), Some([9, 9]));
        assert_eq!(attribute::<4>(&attributes, 2), None);
        assert_eq!(attribute::<8>(&attributes[..18], 3), None);
        assert_eq!(attribute::<1>(&attributes, 4), None);
    }

    #[test]
    fn the_kernel_answers_for_the_loopback_which_has_no_native_xdp() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        assert_ne!(takes_native_xdp(index).unwrap(), Some(true));
        assert!(takes_native_xdp(u32::MAX >> 1).map_or(true, |known| known.is_none()));
    }
}
