//! What a refused policy takes away.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use nexa_types::DeviceId;
use nexa_wire::snapshot::{Sealed, Snapshot};
use tokio::task::spawn_blocking;

use super::{Gateway, lock};
use crate::status::Applied;

impl Gateway {
    /// The new policy is not in force; what it takes away is taken away all the same, in the kernel and in the tunnel.
    pub(super) async fn revoke_only(
        &mut self,
        before: Option<Arc<Snapshot>>,
        refused: &Snapshot,
        network_changed: bool,
    ) {
        let Some(before) = before else { return };
        if network_changed && let Err(error) = self.set_guard(&before).await {
            tracing::error!("the guard could not be put back to the earlier network: {error:#}");
        }
        let affected = nexa_gateway_core::affected(&before, refused);
        let left =
            if affected.is_empty() { before } else { self.take_away(before, refused, &affected).await };
        let kept = left.peers.clone();
        if let Err(error) = self.with_tunnel(move |tunnel| tunnel.narrow(&kept)).await {
            tracing::error!("removed devices could not be taken out of the tunnel: {error:#}");
        }
        if let Some(in_force) = &mut self.in_force {
            tracing::warn!(
                revision = %in_force.revision,
                "the last good snapshot stays in force, without what the refused one takes away"
            );
            in_force.snapshot = left;
        }
        if !affected.is_empty() {
            self.store_what_is_left().await;
        }
    }

    /// Narrows the policy in force to what the refused one allows too; returns what is left. Where even that has no room,
    /// or fails, devices that lose something lose everything: that takes one store for each.
    async fn take_away(
        &mut self,
        before: Arc<Snapshot>,
        refused: &Snapshot,
        affected: &BTreeSet<DeviceId>,
    ) -> Arc<Snapshot> {
        let restricted = Arc::new(nexa_gateway_core::restrict(&before, refused));
        match self.apply_in_place_of(&restricted).await {
            Ok(()) => return restricted,
            Err(error) => tracing::error!(
                devices = affected.len(),
                "what is left of the policy cannot be put in force either, so every device that loses something is shut \
                 out until a policy can: {error:#}"
            ),
        }
        let (dataplane, devices) = (Arc::clone(&self.dataplane), affected.clone());
        let expelled = spawn_blocking(move || lock(&dataplane).expel(&devices)).await;
        if let Err(error) = expelled.map_err(Into::into).flatten() {
            tracing::error!(
                "the kernel's maps could not be changed; the tunnel shuts devices out alone: {error:#}"
            );
        }
        self.has_retired = true;
        let mut left = Arc::unwrap_or_clone(before);
        left.peers.retain(|peer| !affected.contains(&peer.device));
        Arc::new(left)
    }

    async fn apply_in_place_of(&mut self, snapshot: &Arc<Snapshot>) -> anyhow::Result<()> {
        let in_force = self.in_force.as_ref().context("no policy is in force")?;
        let (lease_until, next_change) = (in_force.lease_until, self.lower(snapshot, &in_force.local)?);
        let generation = self.apply_policy(lease_until).await?;
        if let Some(in_force) = &mut self.in_force {
            self.policies.note(generation, snapshot, &in_force.local);
            in_force.next_change = next_change;
        }
        Ok(())
    }

    /// A restart must not bring back what was taken away.
    async fn store_what_is_left(&mut self) {
        let Some(in_force) = &self.in_force else { return };
        match Sealed::new(in_force.revision, &in_force.snapshot) {
            Ok(sealed) => {
                let applied = Applied::new(sealed.revision, sealed.hash.clone(), &in_force.snapshot);
                self.status.set_applied(applied);
                self.store_snapshot(sealed).await;
            }
            Err(error) => tracing::error!("what is left of the snapshot in force cannot be stored: {error}"),
        }
    }
}
