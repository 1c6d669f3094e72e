//! Learns of changes that gateways see, whichever server they were made through.

use std::time::Duration;

use nexa_types::Revision;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::store::{Result, Ring, Store, network};

/// How often the revision is read, should the doorbell be silent.
const RESYNC: Duration = Duration::from_secs(5);
/// How long to wait before the database is asked again.
const RETRY: Duration = Duration::from_millis(250);

/// Keeps `revisions` at the newest known revision. What it says is a hint: a stream reads the real state itself.
pub(super) fn spawn(tasks: &mut JoinSet<()>, store: &Store, revisions: watch::Sender<Revision>) {
    tasks.spawn(listen(store.clone(), revisions.clone()));
    tasks.spawn(resync(store.clone(), revisions));
}

async fn listen(store: Store, revisions: watch::Sender<Revision>) {
    loop {
        let Err(error) = follow(&store, &revisions).await;
        tracing::warn!(%error, "the database's notifications are away; asking again");
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow(store: &Store, revisions: &watch::Sender<Revision>) -> Result<std::convert::Infallible> {
    let mut doorbell = store.doorbell().await?;
    // What was changed before the listening began rang no bell here.
    read(store, revisions).await?;
    loop {
        match doorbell.ring().await? {
            Ring::Changed(revision) => announce(revisions, revision),
            Ring::Reconnected => read(store, revisions).await?,
        }
    }
}

async fn resync(store: Store, revisions: watch::Sender<Revision>) {
    let mut timer = tokio::time::interval(RESYNC);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if let Err(error) = read(&store, &revisions).await {
            tracing::debug!(%error, "the revision could not be read");
        }
    }
}

async fn read(store: &Store, revisions: &watch::Sender<Revision>) -> Result<()> {
    announce(revisions, network::revision(&mut *store.connection().await?).await?);
    Ok(())
}

fn announce(revisions: &watch::Sender<Revision>, revision: Revision) {
    // Not only a higher one: a restored backup goes back.
    revisions.send_if_modified(|known| std::mem::replace(known, revision) != revision);
}
