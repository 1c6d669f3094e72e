//! One snapshot at a time: from its text to the kernel, the tunnel and the disk.

mod errand;
mod feasible;
mod in_force;
mod revoke;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use nexa_types::{Generation, PublicKey};
use nexa_wire::snapshot::{SealError, Sealed, Snapshot};
use tokio::task::spawn_blocking;

use crate::config::InterfaceName;
use crate::dataplane::{self, Dataplane};
use crate::events::Policies;
use crate::guard::{self, Guard};
use crate::net::Net;
use crate::status::{Applied, Status};
use crate::store::{LastGood, Store};
use crate::stream::{Cause, Refusal};
use crate::tunnel::{self, Tunnel};
use crate::xdp_guard;
pub use errand::Errand;
use in_force::{Clocks, InForce};
use nexa_gateway_core::{LowerError, Lowered};

/// How long a policy is served after the control plane last confirmed it.
const LEASE: TimeDelta = TimeDelta::hours(24);

/// A lease is renewed in the kernel once it can be this much longer.
const RENEW_BY: TimeDelta = TimeDelta::minutes(10);

/// What could not be renewed is tried again after this.
const RETRY: TimeDelta = TimeDelta::seconds(1);

/// What a snapshot changes, each part opened and, where that matters, closed to all traffic.
pub struct Gateway {
    /// The tunnel's interface.
    pub interface: InterfaceName,
    /// The programs and maps.
    pub dataplane: Arc<Mutex<Dataplane>>,
    /// The nft table.
    pub guard: Arc<Guard>,
    /// The program on the uplink.
    pub xdp_guard: xdp_guard::Shared,
    /// Addresses and routes.
    pub net: Net,
    /// The engine.
    pub tunnel: Arc<Mutex<Tunnel>>,
    /// The last good snapshot.
    pub store: Store,
    /// What others are told.
    pub status: Arc<Status>,
    /// What the last generations were made of.
    pub policies: Arc<Policies>,
    public_key: PublicKey,
    in_force: Option<InForce>,
    /// The policy as map entries, from one snapshot to the next: what does not change is not computed again.
    lowered: Arc<Mutex<Lowered>>,
    /// The snapshot in force, while it is not on disk.
    unstored: Option<Sealed>,
    has_retired: bool,
}

/// What [`Gateway::new`] takes: the parts of a [`Gateway`].
pub struct Parts {
    /// The tunnel's interface.
    pub interface: InterfaceName,
    /// The programs and maps, attached.
    pub dataplane: Dataplane,
    /// The nft table, installed.
    pub guard: Arc<Guard>,
    /// The program on the uplink, the same that the tunnel has.
    pub xdp_guard: xdp_guard::Shared,
    /// Addresses and routes.
    pub net: Net,
    /// The engine, not started.
    pub tunnel: Tunnel,
    /// The last good snapshot.
    pub store: Store,
    /// What others are told.
    pub status: Arc<Status>,
    /// The tunnel's own key.
    pub public_key: PublicKey,
}

impl Gateway {
    /// Takes the parts over.
    pub fn new(parts: Parts) -> Self {
        let Parts { interface, dataplane, guard, xdp_guard, net, tunnel, store, status, public_key } = parts;
        let (dataplane, tunnel) = (Arc::new(Mutex::new(dataplane)), Arc::new(Mutex::new(tunnel)));
        Self {
            interface,
            dataplane,
            guard,
            xdp_guard,
            net,
            tunnel,
            store,
            status,
            policies: Arc::default(),
            public_key,
            in_force: None,
            lowered: Arc::default(),
            unstored: None,
            has_retired: false,
        }
    }

    /// Puts the empty policy in force: everything is denied.
    ///
    /// # Errors
    /// When the programs' maps cannot be written; they then hold what they held.
    pub async fn deny_everything(&mut self) -> anyhow::Result<()> {
        *lock(&self.lowered) = Lowered::default();
        self.apply_policy(Utc::now() + LEASE).await.context("cannot put the empty policy in force")?;
        Ok(())
    }

    /// Puts a snapshot from the control plane in force and on disk.
    ///
    /// # Errors
    /// [`Refusal`]; the last good snapshot is then in force. Only what a refused snapshot takes from a device may
    /// have been taken already.
    pub async fn accept(&mut self, sealed: Sealed) -> Result<(), Refusal> {
        let revision = sealed.revision;
        let outcome = match sealed.open() {
            Ok(snapshot) => self.put_in_force(&sealed, snapshot, self.lease_from_now()).await,
            // Damaged on the way, perhaps.
            Err(error @ SealError::Hash { .. }) => {
                Err(Refusal { resync: true, ..refused(Cause::Hash, error) })
            }
            Err(error @ SealError::Format { .. }) => Err(refused(Cause::Format, error)),
            Err(error @ SealError::Content { .. }) => Err(refused(Cause::Unreadable, error)),
        };
        match &outcome {
            Ok(()) => {
                tracing::info!(%revision, "snapshot in force");
                self.store_snapshot(sealed).await;
            }
            Err(refusal) => self.status.set_refused(revision, refusal),
        }
        outcome
    }

    /// Until when a policy may be served that the control plane has just sent. Where that is as good as before it is as
    /// before: then nothing is written of devices for which nothing changes.
    fn lease_from_now(&self) -> DateTime<Utc> {
        let until = Utc::now() + LEASE;
        let before = self.in_force.as_ref().filter(|in_force| !in_force.clock_has_stepped());
        let is_as_good = |lease: &DateTime<Utc>| (TimeDelta::zero()..=RENEW_BY).contains(&(until - *lease));
        before.map(|in_force| in_force.lease_until).filter(is_as_good).unwrap_or(until)
    }

    /// In force but not on disk is still in force: only a restart would be without it.
    async fn store_snapshot(&mut self, sealed: Sealed) {
        let revision = sealed.revision;
        let (store, to_store) = (self.store.clone(), sealed.clone());
        let stored = spawn_blocking(move || store.save(&to_store)).await;
        let error = match stored {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic.to_string()),
        };
        let was_stored = self.unstored.is_none();
        self.status.set_stored(error.is_none());
        match error {
            None if was_stored => {}
            None => tracing::info!(%revision, "the snapshot in force is on disk again"),
            Some(error) if was_stored => tracing::error!(
                %revision,
                "cannot store the snapshot in force, so a restart without the control plane would serve an older one; \
                 trying again until it is stored: {error}"
            ),
            Some(error) => tracing::debug!(%revision, "still cannot store the snapshot: {error}"),
        }
        self.unstored = (!self.status.is_stored()).then_some(sealed);
    }

    /// Stores the snapshot in force where that failed before, as on a full disk.
    pub async fn store_again(&mut self) {
        if let Some(sealed) = self.unstored.clone() {
            self.store_snapshot(sealed).await;
        }
    }

    /// Puts a snapshot in force that was good before this start, for what is left of its lease.
    ///
    /// # Errors
    /// As for any snapshot.
    pub async fn resume(&mut self, good: LastGood) -> Result<(), Refusal> {
        let confirmed =
            i64::try_from(good.confirmed_unix).ok().and_then(|unix| DateTime::from_timestamp(unix, 0));
        let lease_until = confirmed.unwrap_or_default() + LEASE;
        if lease_until < Utc::now() {
            tracing::error!(%lease_until, "the stored snapshot's lease has ended: all is denied until the control plane answers");
        }
        self.put_in_force(&good.sealed, good.snapshot, lease_until).await?;
        self.status.set_stored(true);
        Ok(())
    }

    /// Lowers the snapshot in force again where that changes something: the host has other addresses, which no
    /// resource covers; the control plane's confirmation makes the lease longer; the wall clock was set; a rule begins or
    /// ends to speak.
    ///
    /// # Errors
    /// When the addresses cannot be listed or the maps not written; the policy then ends with its lease, and what a rule
    /// allows with that rule's time.
    pub async fn refresh(&mut self) -> anyhow::Result<()> {
        let renewed = self.renew().await;
        if let (Err(_), Some(in_force)) = (&renewed, &mut self.in_force) {
            in_force.next_change = Some(Utc::now() + RETRY);
        }
        renewed
    }

    /// Whether [`Self::refresh`] must not wait: a rule begins or ends to speak, or the wall clock was set.
    pub fn is_due(&self) -> bool {
        self.in_force.as_ref().is_some_and(InForce::is_due)
    }

    /// How long until a rule begins or ends to speak; nothing where none will.
    pub fn stands_for(&self) -> Option<Duration> {
        self.in_force.as_ref()?.stands_for().map(|left| left.to_std().unwrap_or_default())
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let Some(in_force) = &self.in_force else { return Ok(()) };
        let local = self.local_addresses(&in_force.snapshot).await?;
        let lease_until = self.status.confirmed_at().map_or(in_force.lease_until, |at| at + LEASE);
        let renew = lease_until - in_force.lease_until > RENEW_BY;
        if local == in_force.local && !renew && !in_force.is_due() {
            return Ok(());
        }
        let next_change = self.lower(&in_force.snapshot, &local)?;
        let generation = self.apply_policy(lease_until).await?;
        if let Some(in_force) = &mut self.in_force {
            self.policies.note(generation, &in_force.snapshot, &local);
            in_force.local = local;
            in_force.next_change = next_change;
            in_force.lease_until = lease_until;
            in_force.clocks = Clocks::now();
        }
        Ok(())
    }

    async fn local_addresses(&self, snapshot: &Snapshot) -> anyhow::Result<Vec<IpAddr>> {
        let mut local = self.net.local_addresses().await?;
        // Before the interface has them, too.
        local.extend([IpAddr::V4(snapshot.network.tunnel_v4), IpAddr::V6(snapshot.network.tunnel_v6)]);
        local.sort_unstable();
        local.dedup();
        lock(&self.xdp_guard).set_local(&local);
        Ok(local)
    }

    async fn put_in_force(
        &mut self,
        sealed: &Sealed,
        snapshot: Snapshot,
        lease_until: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        // Everything that can be refused is found out before anything changes.
        feasible::check(&snapshot, self.public_key).map_err(|error| refused(Cause::Policy, error))?;
        let local = self.local_addresses(&snapshot).await.map_err(try_again)?;
        let before = self.in_force.as_ref().map(|in_force| Arc::clone(&in_force.snapshot));
        let next_change = match self.lower(&snapshot, &local) {
            Ok(next_change) => next_change,
            Err(error @ (LowerError::Model(_) | LowerError::NoSnapshot)) => {
                return Err(refused(Cause::Policy, error));
            }
            Err(error) => {
                self.revoke_only(before, &snapshot, false).await;
                return Err(refused(Cause::Overflow, error));
            }
        };
        let network_changes = before.as_ref().is_none_or(|before| before.network != snapshot.network);
        if network_changes {
            // First the walls: packets of the new pools must not find a way around the tunnel.
            self.set_guard(&snapshot).await.map_err(|error| refused(Cause::Host, error))?;
        }
        if let Some(kept) =
            before.as_ref().and_then(|before| tunnel::without_moved_addresses(&before.peers, &snapshot.peers))
        {
            self.with_tunnel(move |tunnel| tunnel.narrow(&kept)).await.map_err(try_again)?;
        }
        let snapshot = Arc::new(snapshot);
        match self.apply_policy(lease_until).await {
            Ok(generation) => self.policies.note(generation, &snapshot, &local),
            Err(error) => {
                self.revoke_only(before, &snapshot, network_changes).await;
                let cause = if dataplane::is_overflow(&error) { Cause::Overflow } else { Cause::Host };
                return Err(refused(cause, error.context("the kernel did not take the policy")));
            }
        }
        // The policy is in force. What fails from here on, such as a port that is taken, may pass: the control plane
        // sends the snapshot again.
        if network_changes {
            self.net.bring_up(&snapshot.network).await.map_err(try_again)?;
        }
        let (network, peers) = (snapshot.network.clone(), snapshot.peers.clone());
        self.with_tunnel(move |tunnel| tunnel.set_peers(&network, &peers)).await.map_err(try_again)?;
        self.status.set_applied(Applied::new(sealed.revision, sealed.hash.clone(), &snapshot));
        let clocks = Clocks::now();
        let revision = sealed.revision;
        self.in_force = Some(InForce { revision, snapshot, local, lease_until, next_change, clocks });
        Ok(())
    }

    async fn set_guard(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let spec = guard::Spec::new(self.interface.clone(), Some((&snapshot.network).into()));
        let guard = Arc::clone(&self.guard);
        spawn_blocking(move || guard.apply(&spec)).await?.context("cannot load the nft guard")
    }

    /// Whether entries of earlier policies are in the kernel's maps, for [`Self::remove_retired`].
    pub const fn has_retired(&self) -> bool {
        self.has_retired
    }

    /// Deletes some of them; a policy that arrives meanwhile waits for a few milliseconds only.
    pub async fn remove_retired(&mut self) {
        let dataplane = Arc::clone(&self.dataplane);
        let slice = move || {
            let mut dataplane = lock(&dataplane);
            dataplane.remove_retired()?;
            anyhow::Ok(dataplane.has_retired())
        };
        self.has_retired = match spawn_blocking(slice).await.map_err(Into::into).flatten() {
            Ok(has_retired) => has_retired,
            Err(error) => {
                tracing::warn!("what earlier policies used is deleted with the next one: {error:#}");
                false
            }
        };
    }

    /// Computes what a snapshot comes to now, for [`Self::apply_policy`]; says when that changes by itself.
    fn lower(&self, snapshot: &Snapshot, local: &[IpAddr]) -> Result<Option<DateTime<Utc>>, LowerError> {
        let mut lowered = lock(&self.lowered);
        lowered.set(snapshot, local, Utc::now())?;
        Ok(lowered.next_change())
    }

    async fn apply_policy(&mut self, lease_until: DateTime<Utc>) -> anyhow::Result<Generation> {
        let (dataplane, lowered) = (Arc::clone(&self.dataplane), Arc::clone(&self.lowered));
        let apply = move || lock(&dataplane).apply(&lock(&lowered), lease_until);
        let generation = spawn_blocking(apply).await??;
        self.has_retired = true;
        tracing::debug!(generation = generation.0, "policy in force");
        Ok(generation)
    }

    async fn with_tunnel(
        &self,
        work: impl FnOnce(&mut Tunnel) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let tunnel = Arc::clone(&self.tunnel);
        spawn_blocking(move || work(&mut lock(&tunnel))).await?
    }
}

/// The same snapshot will be refused again.
fn refused(cause: Cause, error: impl Into<anyhow::Error>) -> Refusal {
    Refusal { reason: format!("{:#}", error.into()), resync: false, cause }
}

/// The same snapshot may be taken another time, when this host is well.
fn try_again(error: impl Into<anyhow::Error>) -> Refusal {
    Refusal { resync: true, ..refused(Cause::Host, error) }
}

/// Locks, also after a panic elsewhere: each holder leaves its part whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
