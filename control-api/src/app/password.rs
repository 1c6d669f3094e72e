use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, Result};

/// Memory of one hash, KiB. With two passes and one lane this is the least that OWASP's password storage sheet takes.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How long a sign-in waits for its turn before it is refused.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hashes and checks passwords, few at a time: each takes a core and 19 MiB.
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    /// Checked where there is no such user, so that the answer takes as long.
    decoy: String,
}

/// Leave to hash one password.
pub(super) struct Turn(OwnedSemaphorePermit);

impl Passwords {
    pub(super) fn new() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            turns: Arc::new(Semaphore::new(cores.min(8))),
            decoy: hash_now("nobody has this password")?,
        })
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Result<Turn> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned());
        Ok(Turn(turn.await.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?))
    }

    /// Hashes a password.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        self.turn().await?.hash(password).await
    }

    /// Whether `password` is the one of `hash`; `false` after the same time where there is no hash.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let turn = self.turn().await?;
        let fits = blocking(turn, move || verify_now(&password, &hash)).await??;
        Ok(known && fits)
    }
}

impl Turn {
    /// Hashes a password in this turn.
    pub(super) async fn hash(self, password: String) -> Result<String> {
        blocking(self, move || hash_now(&password)).await?
    }
}

/// Runs on a thread that may block; the turn lasts as long, also where the request is given up meanwhile.
async fn blocking<T: Send + 'static>(turn: Turn, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let task = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn.0);
        done
    });
    task.await.map_err(|error| Error::Internal(format!("password hashing: {error}")))
}

fn hash_now(password: &str) -> Result<String> {
    let hashed = argon2()?.hash_password(password.as_bytes());
    Ok(hashed.map_err(|error| Error::Internal(format!("password hashing: {error}")))?.to_string())
}

fn verify_now(password: &str, hash: &str) -> Result<bool> {
    let hash = PasswordHash::new(hash).map_err(|error| Error::Internal(format!("a stored hash: {error}")))?;
    // The parameters are those of the hash.
    Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    let params = params.map_err(|error| Error::Internal(format!("password hashing: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_names_its_cost_and_takes_only_its_password() {
        let hash = hash_now("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify_now("correct horse", &hash).unwrap() && !verify_now("correct hors", &hash).unwrap());
        assert_ne!(hash, hash_now("correct horse").unwrap(), "salted");
    }

    #[tokio::test]
    async fn an_unknown_user_has_no_password_not_even_the_decoys() {
        let passwords = Passwords::new().unwrap();
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }
}
