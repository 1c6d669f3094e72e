//! Step 12: what must stay secret is nowhere to be read.

use anyhow::Result;

use super::Walk;

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.connected()?;
    walk.secrets_are_nowhere()
}
