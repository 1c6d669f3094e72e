//! The gateway's WireGuard key: made here, kept in one file, never sent anywhere.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexa_tunnel::PrivateKey;
use zeroize::Zeroizing;

use crate::files;

/// The key's file inside the state folder: base64 and a newline, as `wg genkey` writes it.
pub const FILE: &str = "private.key";

/// Why there is no key to use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Somebody other than its owner may read or change the file.
    #[error(
        "{path} has mode {mode:03o}, so others may know the gateway's private key; if nobody else had access run \
         `chmod 600 {path}`, otherwise delete it: the gateway makes a new key and clients fetch new profiles"
    )]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no key.
    #[error(
        "{path} does not hold a WireGuard private key (44 characters of base64); restore it from a backup, or \
         delete it: the gateway makes a new key and clients fetch new profiles"
    )]
    Damaged {
        /// The key's file.
        path: PathBuf,
    },
    /// The file cannot be read or made.
    #[error("{path}: {source}")]
    Io {
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads the key in `state_dir`, or makes one there (mode 0600, written atomically) when there is none.
///
/// # Errors
/// [`KeyError`]; a file that exists is never overwritten.
pub fn load_or_make(state_dir: &Path) -> Result<PrivateKey, KeyError> {
    let path = state_dir.join(FILE);
    let io_error = |source| KeyError::Io { path: path.clone(), source };
    match fs::metadata(&path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path, mode });
            }
            let text = Zeroizing::new(fs::read_to_string(&path).map_err(io_error)?);
            parse(&text).ok_or(KeyError::Damaged { path })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = PrivateKey::generate();
            let text = Zeroizing::new(STANDARD.encode(*key.to_bytes()) + "\n");
            files::write_atomic(&path, text.as_bytes()).map_err(io_error)?;
            Ok(key)
        }
        Err(error) => Err(io_error(error)),
    }
}

fn parse(text: &str) -> Option<PrivateKey> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim_end()).ok()?);
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?);
    (*bytes != [0; 32]).then(|| PrivateKey::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = load_or_make(folder.path()).unwrap();
        assert_eq!(mode(&folder.path().join(FILE)), 0o600);
        let read = load_or_make(folder.path()).unwrap();
        assert_eq!(read.to_bytes(), made.to_bytes());
    }

    /// RFC 7748, section 6.1, Alice.
    #[test]
    fn the_public_key_belongs_to_the_private_one() {
        let folder = tempfile::tempdir().unwrap();
        files::write_atomic(&folder.path().join(FILE), b"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n")
            .unwrap();
        let pair = load_or_make(folder.path()).unwrap();
        assert_eq!(pair.public_key().to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        load_or_make(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        for exposed in [0o644, 0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
            let error = load_or_make(folder.path()).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { mode, .. } if mode == exposed));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let zero = STANDARD.encode([0; 32]);
        for bad in ["", "short\n", "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LC\n", zero.as_str()] {
            files::write_atomic(&path, bad.as_bytes()).unwrap();
            assert!(matches!(load_or_make(folder.path()), Err(KeyError::Damaged { .. })), "{bad:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
