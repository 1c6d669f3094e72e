use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::{Error, Result};

/// Makes a token of 32 random bytes, and its hash, which alone is stored.
///
/// A plain hash is enough: nobody guesses 256 random bits, however fast the hash.
pub(super) fn new() -> Result<(String, [u8; 32])> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Internal(format!("no randomness: {error}")))?;
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let hash = hash(&token);
    Ok((token, hash))
}

/// The hash of a token's text, as stored.
pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
