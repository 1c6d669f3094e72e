use std::fmt;

use boringtun::x25519;
use nexa_types::PublicKey;
use zeroize::{Zeroize, Zeroizing};

/// A Curve25519 private key. Zeroized on drop; its `Debug` prints no key.
#[derive(Clone)]
pub struct PrivateKey(x25519::StaticSecret);

impl PrivateKey {
    /// A fresh key from the system's random source.
    ///
    /// # Panics
    /// When the system has no random source.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).expect("the system has a random source");
        // The form `wg genkey` writes: the bits that Curve25519 ignores or fixes are already fixed in the text.
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Self::from_bytes(*bytes)
    }

    /// Takes 32 bytes as they are stored.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let secret = x25519::StaticSecret::from(bytes);
        bytes.zeroize();
        Self(secret)
    }

    /// The 32 bytes, to be stored.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key of this private key.
    ///
    /// # Panics
    /// Never: the product of the base point and a clamped scalar is not zero.
    pub fn public_key(&self) -> PublicKey {
        let bytes = x25519::PublicKey::from(&self.0).to_bytes();
        PublicKey::from_bytes(bytes).expect("a clamped scalar times the base point is not zero")
    }

    pub(crate) const fn secret(&self) -> &x25519::StaticSecret {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A preshared key: 32 secret bytes mixed into the handshake. Zeroized on drop; its `Debug` prints no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Psk(Zeroizing<[u8; 32]>);

impl Psk {
    /// Takes the 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_is_the_same_key() {
        let key = PrivateKey::generate();
        assert_eq!(PrivateKey::from_bytes(*key.to_bytes()).public_key(), key.public_key());
        assert_ne!(PrivateKey::generate().public_key(), key.public_key());
    }

    #[test]
    fn the_public_key_is_the_one_wg_prints() {
        let mut private: [u8; 32] = std::array::from_fn(|i| i as u8);
        (private[0], private[31]) = (0x40, 0x5f);
        assert_eq!(
            PrivateKey::from_bytes(private).public_key().to_string(),
            "QROKEJzmRbhtdJleQSlp1HgZi1Tm6HcTgAtO8Q38Vhw="
        );
    }

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", PrivateKey::generate()), "PrivateKey(..)");
        assert_eq!(format!("{:?}", Psk::from_bytes([7; 32])), "Psk(..)");
    }
}
