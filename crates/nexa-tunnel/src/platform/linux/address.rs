//! Addresses and control messages between Rust and the kernel's structures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::peer::Endpoint;

/// What the socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// An IPv6 socket that takes IPv4 too, as mapped addresses.
    Dual,
    /// The host has no IPv6.
    V4Only,
}

/// Room for the control messages of one message: a packet information and a segment size.
pub(super) type Control = [u64; 10];

/// A socket address as the kernel takes it. Its variants begin with the same field, the family.
#[derive(Clone, Copy)]
pub(super) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    pub(super) const fn empty() -> Self {
        // SAFETY: both variants are plain data, for which all zero is a value.
        unsafe { std::mem::zeroed() }
    }

    /// The address and its length; `None` when a socket of this family cannot send there.
    pub(super) fn encode(address: SocketAddr, family: Family) -> Option<(Self, libc::socklen_t)> {
        let mut name = Self::empty();
        match (family, address) {
            (Family::Dual, _) => {
                let v6 = match address {
                    SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
                    SocketAddr::V6(v6) => v6,
                };
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                Some((name, size_of::<libc::sockaddr_in6>() as libc::socklen_t))
            }
            (Family::V4Only, SocketAddr::V4(v4)) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                Some((name, size_of::<libc::sockaddr_in>() as libc::socklen_t))
            }
            (Family::V4Only, SocketAddr::V6(_)) => None,
        }
    }

    /// The address the kernel has written; mapped ones come out as the IPv4 they are.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        // SAFETY: the kernel has written the variant that the common first field names.
        unsafe {
            match libc::c_int::from(self.v4.sin_family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some((ip, u16::from_be(self.v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    Some(ip.to_ipv4_mapped().map_or_else(
                        || SocketAddrV6::new(ip, port, 0, self.v6.sin6_scope_id).into(),
                        |v4| (v4, port).into(),
                    ))
                }
                _ => None,
            }
        }
    }
}

/// Writes the control messages for one message and sets its control length. Its control pointer and length must
/// stand for a [`Control`].
///
/// # Safety
/// `message.msg_control` must point to a [`Control`] that nothing else uses.
pub(super) unsafe fn write_control(
    message: &mut libc::msghdr,
    to: &Endpoint,
    segment: Option<u16>,
    family: Family,
) {
    let mut used = 0;
    message.msg_controllen = size_of::<Control>();
    // SAFETY: the control buffer has room for the two messages below (40 + 24 bytes) and CMSG_NXTHDR stays in it;
    // both are aligned to 8, as the buffer is.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        let mut put = |level, kind, data: *const u8, length: usize| {
            (*next).cmsg_level = level;
            (*next).cmsg_type = kind;
            (*next).cmsg_len = libc::CMSG_LEN(length as u32) as usize;
            std::ptr::copy_nonoverlapping(data, libc::CMSG_DATA(next), length);
            used += libc::CMSG_SPACE(length as u32) as usize;
            next = next.byte_add(libc::CMSG_SPACE(length as u32) as usize);
        };
        match (to.local, family) {
            (Some(local), Family::Dual) => {
                let (ip, scope) = match (local, to.remote) {
                    (IpAddr::V4(v4), _) => (v4.to_ipv6_mapped(), 0),
                    (IpAddr::V6(v6), SocketAddr::V6(remote)) => (v6, remote.scope_id()),
                    (IpAddr::V6(v6), SocketAddr::V4(_)) => (v6, 0),
                };
                let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
                let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: scope as _ };
                put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, (&raw const info).cast(), size_of_val(&info));
            }
            (Some(IpAddr::V4(local)), Family::V4Only) => {
                let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                let info =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } };
                put(libc::IPPROTO_IP, libc::IP_PKTINFO, (&raw const info).cast(), size_of_val(&info));
            }
            _ => {}
        }
        if let Some(segment) = segment {
            put(libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const segment).cast(), size_of_val(&segment));
        }
    }
    message.msg_controllen = used;
}

/// What the control messages of a received message say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    /// The address of ours it was sent to.
    pub(super) local: Option<IpAddr>,
    /// The length of each datagram but the last, when the kernel has joined several.
    pub(super) segment: Option<usize>,
}

/// Reads the control messages of a received message.
///
/// # Safety
/// `message` must be as `recvmsg` has left it, its control buffer still in place.
pub(super) unsafe fn read_control(message: &libc::msghdr) -> Received {
    let mut received = Received::default();
    // SAFETY: the kernel has written well-formed control messages within the length it has set; the data of each
    // kind is the structure read here.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = next.as_ref() {
            let data = libc::CMSG_DATA(header);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    received.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    received.local = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = data.cast::<libc::c_int>().read_unaligned();
                    received.segment = usize::try_from(segment).ok().filter(|segment| *segment > 0);
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(message, header);
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_to_the_kernel_and_back() {
        for (text, family) in [
            ("192.0.2.1:51820", Family::Dual),
            ("192.0.2.1:51820", Family::V4Only),
            ("[2001:db8::1]:7", Family::Dual),
            ("[fe80::1%3]:7", Family::Dual),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let (name, _) = Name::encode(address, family).unwrap();
            assert_eq!(name.decode(), Some(address));
        }
        assert!(Name::encode("[::1]:7".parse().unwrap(), Family::V4Only).is_none());
    }
}
