use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A Curve25519 public key as WireGuard writes it: 32 bytes, in text 44 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// Why a text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the canonical base64 of 32 bytes.
    #[error("a public key is 44 characters of base64, as `wg pubkey` prints it")]
    NotBase64,
    /// All bytes are zero, which no private key yields.
    #[error("the all-zero key is nobody's public key; make one with `wg genkey | wg pubkey`")]
    Zero,
}

impl PublicKey {
    /// Takes the 32 bytes; refuses the all-zero key.
    ///
    /// # Errors
    /// [`KeyError::Zero`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        if bytes == [0; 32] { Err(KeyError::Zero) } else { Ok(Self(bytes)) }
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text).map_err(|_| KeyError::NotBase64)?;
        Self::from_bytes(bytes.try_into().map_err(|_| KeyError::NotBase64)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

crate::serde_as_text!(PublicKey);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

    #[test]
    fn text_and_bytes_are_one_key() {
        let key: PublicKey = TEXT.parse().unwrap();
        assert_eq!(key.to_string(), TEXT);
        assert_eq!(PublicKey::from_bytes(*key.as_bytes()), Ok(key));
    }

    #[test]
    fn anything_but_canonical_base64_of_32_bytes_is_refused() {
        let last_bits_set = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=";
        for bad in ["", "short", &TEXT[..43], &format!("{TEXT}="), &format!(" {TEXT}"), "AAAA", last_bits_set]
        {
            assert_eq!(bad.parse::<PublicKey>(), Err(KeyError::NotBase64), "{bad:?}");
        }
    }

    #[test]
    fn the_zero_key_is_refused() {
        let zero = STANDARD.encode([0; 32]);
        assert_eq!(zero.parse::<PublicKey>(), Err(KeyError::Zero));
    }
}
