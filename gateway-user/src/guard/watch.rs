//! Notices that somebody removed or changed the guard, and puts it back at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{Guard, State};
use crate::net::RulesetEvents;
use crate::status::Status;

/// The kernel announces every change of the ruleset; this is for the announcement that got lost.
const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// Runs until the process ends. `events` must have been opened before the guard was first applied.
pub async fn watch(guard: Arc<Guard>, mut events: RulesetEvents, status: Arc<Status>) {
    let mut tick = interval(AT_LEAST_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = events.changed() => {}
        }
        let guard = Arc::clone(&guard);
        let outcome = tokio::task::spawn_blocking(move || guard.repair()).await;
        match outcome {
            Ok(Ok(State::Intact)) => failing = false,
            Ok(Ok(State::Missing | State::Changed)) => {
                failing = false;
                status.count_guard_repair();
                tracing::error!(
                    repairs = status.guard_repairs(),
                    "somebody removed or changed the nft table inet nexavpn; it has been put back. Look for a service \
                     that runs `flush ruleset` and let it leave this table alone"
                );
            }
            Ok(Err(error)) => {
                if !failing {
                    tracing::error!(
                        "the nft guard cannot be checked, so a removal would stay unnoticed: {error}"
                    );
                }
                failing = true;
            }
            Err(_) => return,
        }
    }
}
