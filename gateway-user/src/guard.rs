//! The second line behind the program on wg0: an nft table that drops whatever the program did not mark, and that
//! keeps tunnel addresses out of every other interface.
//!
//! The table is replaced as a whole in one transaction, so there is never a moment with half of it. It stays when
//! the daemon ends, however it ends.

mod nft;
mod rules;
mod watch;

pub use nft::{NftError, check, is_present, ruleset};
pub use rules::{Spec, TABLE, TunnelAddresses};
pub use watch::watch;

use std::sync::Mutex;

/// The table's state in the kernel, compared with what was put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As we left it.
    Intact,
    /// Somebody removed it, for example by `flush ruleset`.
    Missing,
    /// Somebody changed it.
    Changed,
}

/// The table of this gateway. Calls block for the milliseconds that `nft` takes.
#[derive(Debug, Default)]
pub struct Guard {
    installed: Mutex<Option<Installed>>,
}

#[derive(Debug)]
struct Installed {
    spec: Spec,
    /// How nft prints the table: what later listings must equal.
    listing: String,
}

impl Guard {
    /// A guard that has not installed anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `spec` in force, in one transaction, instead of whatever the table held.
    ///
    /// # Errors
    /// When nft refuses; the table is then as it was.
    pub fn apply(&self, spec: &Spec) -> Result<(), NftError> {
        let mut installed = self.lock();
        // Filling the table keeps its chains; only a table of another version needs to be made anew.
        nft::load(&rules::fill(spec)).or_else(|_| nft::load(&rules::rebuild(spec)))?;
        *installed = Some(Installed { spec: spec.clone(), listing: nft::list()?.unwrap_or_default() });
        Ok(())
    }

    /// Compares the kernel's table with the installed one.
    ///
    /// # Errors
    /// When nft cannot be asked.
    pub fn state(&self) -> Result<State, NftError> {
        Self::compare(self.lock().as_ref())
    }

    /// Puts the installed table back if somebody removed or changed it. Returns what was found.
    ///
    /// # Errors
    /// When nft cannot be asked or refuses.
    pub fn repair(&self) -> Result<State, NftError> {
        let mut guard = self.lock();
        let state = Self::compare(guard.as_ref())?;
        if let (State::Missing | State::Changed, Some(installed)) = (state, guard.as_mut()) {
            nft::load(&rules::rebuild(&installed.spec))?;
            installed.listing = nft::list()?.unwrap_or_default();
        }
        Ok(state)
    }

    fn compare(installed: Option<&Installed>) -> Result<State, NftError> {
        let Some(installed) = installed else { return Ok(State::Intact) };
        Ok(match nft::list()? {
            None => State::Missing,
            Some(listing) if listing == installed.listing => State::Intact,
            Some(_) => State::Changed,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Installed>> {
        // A panic while it was held leaves a spec that was in force, or one that `repair` puts in force.
        self.installed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
