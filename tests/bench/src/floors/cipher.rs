//! What it costs to seal a packet: the cipher alone, from the library that boringtun seals with.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a full packet inside the tunnel.
pub const PACKET_BYTES: usize = 1420;

/// Packets between two looks at the clock.
const BATCH: u32 = 64;

/// A key and a packet.
#[derive(Debug)]
pub struct Cipher {
    key: LessSafeKey,
    packet: Vec<u8>,
    counter: u64,
}

impl Cipher {
    /// Makes a key.
    ///
    /// # Errors
    /// When the library refuses it.
    pub fn new() -> Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(|_| anyhow!("no key"))?;
        Ok(Self { key: LessSafeKey::new(key), packet: vec![0; PACKET_BYTES], counter: 0 })
    }

    /// Seals packets in place, one after the other, with the counter as the nonce, as boringtun's session does, and
    /// returns the nanoseconds of one.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn packet_ns(&mut self, run: Duration) -> Result<f64> {
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < run || count == 0 {
            for _ in 0..BATCH {
                self.seal()?;
            }
            count += BATCH;
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(count))
    }

    fn seal(&mut self) -> Result<()> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        self.counter += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.packet);
        let _tag = black_box(tag.map_err(|_| anyhow!("cannot seal"))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Cipher;

    #[test]
    fn every_packet_is_sealed_under_a_nonce_of_its_own() {
        let mut cipher = Cipher::new().expect("a key");
        let ns = cipher.packet_ns(Duration::from_millis(1)).expect("sealed");
        assert!(ns.is_finite() && ns > 0.0, "{ns}");
        assert!(cipher.counter >= 64);
        assert!(cipher.packet.iter().any(|byte| *byte != 0), "the packet was sealed in place");
    }
}
