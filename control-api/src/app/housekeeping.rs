//! What the clock does: devices expire, what has ended is cleared away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::caller::system_actor;
use super::sign_in_limit::SignInLimit;
use crate::store::device::Owned;
use crate::store::{AuditEntry, Result, Store, api_token, device, drop, one_time_token, session};

const EVERY: Duration = Duration::from_secs(1);
/// Clearing away is done every so many rounds.
const ROUNDS_PER_CLEARING: u32 = 60;

/// Runs until it is dropped. Several servers may do this at once.
pub(super) async fn run(store: Store, sign_ins: Arc<SignInLimit>) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in (0..ROUNDS_PER_CLEARING).cycle() {
        timer.tick().await;
        if let Err(error) = expire(&store).await {
            tracing::debug!(%error, "expired devices could not be announced");
        }
        if round == 0 {
            sign_ins.forget();
        }
        if round == 0
            && let Err(error) = clear(&store).await
        {
            tracing::debug!(%error, "what has ended could not be cleared away");
        }
    }
}

/// Makes a revision without the devices whose time has come. Gateways know the time, too, and need not wait for it.
async fn expire(store: &Store) -> Result<()> {
    while device::any_newly_expired(&mut *store.connection().await?).await? {
        let mut change = store.visible_change().await?;
        let db = change.connection();
        let Some(id) = device::take_expired(db).await? else { return Ok(()) };
        let device = device::get(db, id, Owned::ByAnyone).await?;
        let actor = system_actor("clock");
        change.commit(AuditEntry::new(&actor, "device.expire", id).after(&device)).await?;
    }
    Ok(())
}

async fn clear(store: &Store) -> Result<()> {
    let mut db = store.connection().await?;
    session::delete_expired(&mut db).await?;
    api_token::delete_expired(&mut db).await?;
    one_time_token::delete_expired(&mut db).await?;
    device::delete_rested(&mut db).await?;
    drop::delete_old(&mut db).await
}
