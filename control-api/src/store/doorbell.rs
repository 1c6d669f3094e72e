use nexa_types::Revision;
use sqlx::PgPool;
use sqlx::postgres::PgListener;

use super::network::CHANNEL;
use super::{Result, StoreError};

/// The database's notifications about changes that gateways see.
pub(crate) struct Doorbell {
    listener: PgListener,
}

/// Why the doorbell rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// A change was committed.
    Changed(Revision),
    /// The connection was lost and made anew: changes may have been missed.
    Reconnected,
}

impl Doorbell {
    pub(super) async fn listen(pool: &PgPool) -> Result<Self> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self { listener })
    }

    /// Waits for the next ring.
    pub(crate) async fn ring(&mut self) -> Result<Ring> {
        let Some(notification) = self.listener.try_recv().await? else { return Ok(Ring::Reconnected) };
        let payload = notification.payload();
        let revision = payload.parse().map_err(|_| StoreError::corrupt("a notification", payload))?;
        Ok(Ring::Changed(Revision(revision)))
    }
}
