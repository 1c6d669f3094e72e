use serde::Serialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{Result, audit, network};
use crate::model::Actor;

/// A transaction that changes something. Dropped without [`Self::commit`], nothing of it was ever there.
pub(crate) struct Change {
    transaction: Transaction<'static, Postgres>,
    revision: Option<i64>,
}

impl Change {
    pub(super) async fn begin(pool: &PgPool) -> Result<Self> {
        Ok(Self { transaction: pool.begin().await?, revision: None })
    }

    pub(super) async fn begin_ordered(pool: &PgPool) -> Result<Self> {
        let mut transaction = pool.begin().await?;
        network::lock(&mut transaction).await?;
        Ok(Self { transaction, revision: None })
    }

    /// Takes the network row's lock first of all: visible changes happen one after the other, so a revision's state
    /// holds all earlier revisions, and no two of them wait for each other.
    pub(super) async fn begin_visible(pool: &PgPool) -> Result<Self> {
        let mut transaction = pool.begin().await?;
        let revision = network::next_revision(&mut transaction).await?;
        Ok(Self { transaction, revision: Some(revision) })
    }

    /// As [`Self::begin_visible`], with a revision beyond `known`.
    pub(super) async fn begin_beyond(pool: &PgPool, known: i64) -> Result<Self> {
        let mut transaction = pool.begin().await?;
        let revision = network::revision_beyond(&mut transaction, known).await?;
        Ok(Self { transaction, revision: Some(revision) })
    }

    /// The connection to change things with.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Writes the audit row and commits; rings the doorbell where gateways see the change.
    pub(crate) async fn commit(mut self, entry: AuditEntry) -> Result<()> {
        let action = entry.action;
        audit::insert(&mut self.transaction, entry).await?;
        if let Some(revision) = self.revision {
            // Delivered when the transaction commits, and not at all otherwise.
            network::notify(&mut self.transaction, revision).await?;
        }
        self.transaction.commit().await?;
        tracing::info!(action, revision = self.revision, "change committed");
        Ok(())
    }
}

/// What a change did, for its audit row.
pub(crate) struct AuditEntry {
    /// Who did it.
    pub(crate) actor: Actor,
    /// What was done, like `rule.create`.
    pub(crate) action: &'static str,
    /// Kind of what it was done to.
    pub(crate) target_kind: &'static str,
    /// Id of what it was done to.
    pub(crate) target_id: String,
    /// What it was before.
    pub(crate) before: Option<serde_json::Value>,
    /// What it was afterwards.
    pub(crate) after: Option<serde_json::Value>,
}

impl AuditEntry {
    /// An action without states; add them by [`Self::before`] and [`Self::after`]. `action` is `kind.verb`.
    pub(crate) fn new(actor: &Actor, action: &'static str, target: impl ToString) -> Self {
        let target_kind = action.split_once('.').map_or(action, |(kind, _)| kind);
        let actor = actor.clone();
        Self { actor, action, target_kind, target_id: target.to_string(), before: None, after: None }
    }

    /// What the target was.
    pub(crate) fn before(mut self, state: &impl Serialize) -> Self {
        self.before = Some(json(state));
        self
    }

    /// What the target is now.
    pub(crate) fn after(mut self, state: &impl Serialize) -> Self {
        self.after = Some(json(state));
        self
    }
}

fn json(state: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(state).expect("a shape of the API has string keys, so it is JSON")
}
