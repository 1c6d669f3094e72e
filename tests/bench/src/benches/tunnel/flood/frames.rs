//! What a flood is made of: a third is no message, a third is data for receivers that nobody is, and a third are
//! initiations of a stranger who knows the gateway's public key, and so has a right first MAC.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey as X25519Public, StaticSecret},
};
use nexa_types::PublicKey;

use crate::benches::policy::{
    frame::{self, Frame, L2_BYTES, MAC},
    inject::{Action, Flows, Injector},
};

/// Prepared frames, each from another sender.
const PREPARED: usize = 30_000;
/// Where the message begins, and its bytes that are prepared; what follows all frames have in common.
const MESSAGE: usize = L2_BYTES as usize + 20 + 8;
const IN_FRAME: usize = frame::BYTES - MESSAGE;
const INITIATION_BYTES: usize = 148;
/// The shortest message of data.
const DATA_BYTES: usize = 32;

/// Frames to the gateway's address and port.
pub(super) fn injector(gateway: PublicKey, address: Ipv4Addr, port: u16) -> Result<Injector> {
    let initiation = initiation(gateway)?;
    let mut rng = fastrand::Rng::with_seed(3);
    let frames: Vec<Frame> = (0..PREPARED)
        .map(|n| {
            let mut message = [0; IN_FRAME];
            let bytes = match n % 3 {
                0 => {
                    message[0] = 9;
                    DATA_BYTES
                }
                1 => {
                    message[0] = 4;
                    message[4..8].copy_from_slice(&rng.u32(..).to_le_bytes());
                    DATA_BYTES
                }
                _ => {
                    message.copy_from_slice(&initiation[..IN_FRAME]);
                    INITIATION_BYTES
                }
            };
            // Of networks that are nobody's own.
            let source = Ipv4Addr::from(rng.u32(0x0b00_0000..0x7f00_0000));
            frame_of(source, rng.u16(1024..), address, port, (&message, bytes))
        })
        .collect();
    Ok(Injector::new(&frames, Action::Transmit, Flows::Repeat)?.with_tail(&initiation[IN_FRAME..]))
}

fn initiation(gateway: PublicKey) -> Result<Vec<u8>> {
    let gateway = X25519Public::from(*gateway.as_bytes());
    let mut stranger = Tunn::new(StaticSecret::from([3; 32]), gateway, None, None, 1, None);
    match stranger.format_handshake_initiation(&mut [0; 256], false) {
        TunnResult::WriteToNetwork(message) if message.len() == INITIATION_BYTES => Ok(message.to_vec()),
        _ => bail!("no initiation"),
    }
}

/// A frame with the beginning of a message of so many bytes.
fn frame_of(
    source: Ipv4Addr,
    source_port: u16,
    address: Ipv4Addr,
    port: u16,
    (message, bytes): (&[u8; IN_FRAME], usize),
) -> Frame {
    let mut frame = [0; frame::BYTES];
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    frame[..6].copy_from_slice(&MAC);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[8, 0]);
    let (_, behind) = frame.split_at_mut(L2_BYTES as usize);
    behind[..10].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    behind[2..4].copy_from_slice(&length(20 + 8 + bytes));
    behind[12..16].copy_from_slice(&source.octets());
    behind[16..20].copy_from_slice(&address.octets());
    let checksum = frame::checksum(&[&behind[..20]]);
    behind[10..12].copy_from_slice(&checksum);
    behind[20..22].copy_from_slice(&source_port.to_be_bytes());
    behind[22..24].copy_from_slice(&port.to_be_bytes());
    // Without a checksum, which IPv4 allows.
    behind[24..26].copy_from_slice(&length(8 + bytes));
    behind[28..].copy_from_slice(message);
    frame
}
