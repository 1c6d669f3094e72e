//! What the walk-through judges and the benches measure, by the same code.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use super::{Walk, gateway_killed::recovered};
pub use super::{
    download::{Stalled, rule_removed},
    open::{Granted, grant, rule_added, take_away},
};

/// How the gateway's process goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By SIGKILL, as in a crash.
    Killed,
    /// By SIGTERM, as `systemctl restart` does it, waiting until it is gone.
    Planned,
}

/// Ends the gateway, starts it at once, and returns how long after its start the client got through to an address.
/// Waits then until the gateway is connected to the control plane, so that what is measured next finds it at rest.
///
/// # Errors
/// When the gateway had ended by itself, must be killed though asked to end, or does not recover.
pub fn restarted(walk: &mut Walk<'_>, end: End, address: SocketAddr) -> Result<Duration> {
    match end {
        End::Killed => walk.lab.gateway.kill()?,
        End::Planned => walk.lab.gateway.stop()?,
    }
    let recovered = recovered(walk, address)?;
    walk.wait_for_gateway()?;
    Ok(recovered)
}
