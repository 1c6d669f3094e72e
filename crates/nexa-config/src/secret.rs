//! Secrets: text that is never printed, and files that hold it.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A text that must not be shown; its `Debug` does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Here.
    Text(Secret),
    /// In a file, which holds nothing else.
    File(PathBuf),
}

impl SecretSource {
    /// From the two halves of a setting, of which [`read`](crate::read) gives at most one.
    pub fn of(text: Option<Secret>, file: Option<PathBuf>) -> Option<Self> {
        text.map(Self::Text).or_else(|| file.map(Self::File))
    }

    /// The secret. A file is read, and one newline at its end does not count.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(&self) -> Result<Secret, SecretError> {
        let path = match self {
            Self::Text(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let text = fs::read_to_string(path)
            .map_err(|error| SecretError { path: path.clone(), what: format!("cannot be read: {error}") })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(SecretError {
                path: path.clone(),
                what: "is empty; it must hold the secret".to_owned(),
            });
        }
        Ok(Secret(line.to_owned()))
    }

    /// The file, where it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Text(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

/// Why a secret's file is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.what)
    }
}

impl std::error::Error for SecretError {}

/// Whether every user of the host may read a file.
pub fn others_may_read(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
