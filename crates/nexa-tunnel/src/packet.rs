//! What the loop reads of WireGuard messages and of the IP packets inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const PADDING: usize = 16;

/// A WireGuard message by its type and length; nothing of it is authentic yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Initiation,
    Response { receiver: u32 },
    Cookie { receiver: u32 },
    Data { receiver: u32 },
}

impl Message {
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
        match (word(0)?, datagram.len()) {
            (1, 148) => Some(Self::Initiation),
            (2, 92) => Some(Self::Response { receiver: word(8)? }),
            (3, 64) => Some(Self::Cookie { receiver: word(4)? }),
            (4, 32..) => Some(Self::Data { receiver: word(4)? }),
            _ => None,
        }
    }
}

/// Whether a message that boringtun has written is a data message.
pub(crate) fn is_data(message: &[u8]) -> bool {
    message.first() == Some(&4)
}

/// A handshake message of ours, with the index that the other side is to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Initiation(u32),
    Response(u32),
}

/// What handshake message these bytes of ours are, if any.
pub(crate) fn handshake(message: &[u8]) -> Option<Handshake> {
    let index = || sender_index(message);
    match (message.first()?, message.len()) {
        (1, 148) => index().map(Handshake::Initiation),
        (2, 92) => index().map(Handshake::Response),
        _ => None,
    }
}

/// The receiver index that a handshake message of ours asks the other side to use.
pub(crate) fn sender_index(handshake: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(handshake.get(4..8)?.try_into().ok()?))
}

/// The destination of an IP packet.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 16, 24)
}

/// The source of an IP packet.
pub(crate) fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, 12, 8)
}

fn address(packet: &[u8], v4: usize, v6: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(Ipv4Addr::from(array::<4>(packet, v4)?).into()),
        6 if packet.len() >= 40 => Some(Ipv6Addr::from(array::<16>(packet, v6)?).into()),
        _ => None,
    }
}

fn array<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// The length a packet is sealed with: rounded up to 16 bytes to hide its own, but never past the MTU, as
/// the kernel does it (WireGuard paper, 5.4.6).
pub(crate) fn padded(length: usize, mtu: usize) -> usize {
    length.next_multiple_of(PADDING).min(mtu.max(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_told_apart_by_type_and_length() {
        let message = |kind: u32, length: usize| {
            let mut bytes = vec![0; length];
            bytes[..4].copy_from_slice(&kind.to_le_bytes());
            bytes[4..12].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
            Message::parse(&bytes)
        };
        assert_eq!(message(1, 148), Some(Message::Initiation));
        assert_eq!(message(2, 92), Some(Message::Response { receiver: 2 }));
        assert_eq!(message(3, 64), Some(Message::Cookie { receiver: 1 }));
        assert_eq!(message(4, 32), Some(Message::Data { receiver: 1 }));
        for (kind, length) in [(1, 147), (2, 148), (3, 65), (4, 31), (0, 32), (5, 148), (1 << 8 | 4, 32)] {
            assert_eq!(message(kind, length), None, "{kind} {length}");
        }
    }

    #[test]
    fn addresses_are_read_from_where_the_headers_have_them() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(source(&v4), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(destination(&v4), Some("10.0.0.2".parse().unwrap()));
        let mut v6 = [0; 40];
        v6[0] = 0x60;
        v6[23] = 1;
        v6[39] = 2;
        assert_eq!(source(&v6), Some("::1".parse().unwrap()));
        assert_eq!(destination(&v6), Some("::2".parse().unwrap()));
        assert_eq!(destination(&v6[..39]), None);
    }

    #[test]
    fn padding_never_passes_the_mtu_nor_shortens() {
        assert_eq!(padded(0, 1420), 0);
        assert_eq!(padded(61, 1420), 64);
        assert_eq!(padded(64, 1420), 64);
        assert_eq!(padded(1418, 1420), 1420);
        assert_eq!(padded(1500, 1420), 1500);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Message::parse(&bytes), source(&bytes), destination(&bytes), sender_index(&bytes));
        }
    }
}
