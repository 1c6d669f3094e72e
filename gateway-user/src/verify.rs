//! Whether the kernel's maps hold the policy in force, and nothing else.
//!
//! Whoever may write to BPF maps on this host may grant themselves anything, and a daemon that only ever writes would not
//! notice. So the maps are read back, whole and without holding anybody up. A drift is an alarm, and the policy is then
//! written anew as over maps of an unknown daemon.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use nexa_types::Generation;
use nexa_wire::local::Verified;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::dataplane::Dataplane;
use crate::gateway::{Errand, lock};
use crate::status::Status;

/// How often the maps are read before a policy that changes all the time is left alone until the next look.
const ATTEMPTS: usize = 3;

/// Compares, and has differences repaired.
pub struct Verifier {
    dataplane: Arc<Mutex<Dataplane>>,
    status: Arc<Status>,
    errands: mpsc::Sender<Errand>,
    /// One look at a time: a second one would find what the first is about to repair.
    looking: tokio::sync::Mutex<()>,
}

impl Verifier {
    /// Compares the maps of `dataplane`; repairs are the gateway's errands.
    pub fn new(dataplane: Arc<Mutex<Dataplane>>, status: Arc<Status>, errands: mpsc::Sender<Errand>) -> Self {
        Self { dataplane, status, errands, looking: tokio::sync::Mutex::default() }
    }

    /// Looks again and again.
    pub async fn watch(&self, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.look().await {
                tracing::warn!("the kernel's maps could not be compared with the policy: {error:#}");
            }
        }
    }

    /// Looks once, and has a drift repaired.
    ///
    /// # Errors
    /// When the maps cannot be read, or it is not known what should be in them.
    pub async fn look(&self) -> anyhow::Result<Verified> {
        let _one = self.looking.lock().await;
        let dataplane = Arc::clone(&self.dataplane);
        let mut verified = spawn_blocking(move || compare(&dataplane)).await??;
        let drift = verified.drift();
        self.status.set_verified(&verified.found_hash, drift);
        if drift > 0 {
            let maps: Vec<String> =
                verified.maps.iter().filter(|map| map.drift() > 0).map(ToString::to_string).collect();
            tracing::error!(
                drift,
                "somebody changed the kernel's maps, and the policy is written anew over them: {}",
                maps.join("; ")
            );
            match self.repair().await {
                Ok(generation) => {
                    self.status.count_policy_repair();
                    verified.repaired = Some(generation);
                }
                Err(error) => tracing::error!("the policy could not be written anew: {error:#}"),
            }
        }
        Ok(verified)
    }

    async fn repair(&self) -> anyhow::Result<Generation> {
        let (reply, repaired) = oneshot::channel();
        self.errands.send(Errand::Repair(reply)).await.ok().context("the gateway is ending")?;
        repaired.await.context("the gateway is ending")?
    }
}

fn compare(dataplane: &Mutex<Dataplane>) -> anyhow::Result<Verified> {
    let reader = lock(dataplane).reader();
    // What waits for its deletion would count as somebody else's.
    while lock(dataplane).has_retired() {
        lock(dataplane).remove_retired()?;
    }
    for _ in 0..ATTEMPTS {
        let intent = lock(dataplane).intent();
        let (writes, installer) = intent.context(
            "it is not known what should be in them, since a swap failed half-way; the next policy is written whole",
        )?;
        let found = reader.content()?;
        let verified = installer.content().compare(&found);
        // Otherwise a policy came into force meanwhile.
        if lock(dataplane).intent().is_some_and(|(now, _)| now == writes) {
            return Ok(verified);
        }
    }
    anyhow::bail!("the policy changes too often; try again")
}
