use sqlx::PgConnection;

use super::{AuditEntry, Result};
use crate::model::{Actor, ActorKind, AuditEvent};

/// Writes one row.
pub(super) async fn insert(db: &mut PgConnection, entry: AuditEntry) -> Result<()> {
    sqlx::query!(
        "INSERT INTO audit (actor_kind, actor_id, actor_name, action, target_kind, target_id, before, after)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        entry.actor.kind as ActorKind,
        entry.actor.id,
        entry.actor.name,
        entry.action,
        entry.target_kind,
        entry.target_id,
        entry.before,
        entry.after,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` events below id `below`, newest first.
pub(crate) async fn page(db: &mut PgConnection, below: i64, limit: i64) -> Result<Vec<AuditEvent>> {
    let rows = sqlx::query!(
        r#"SELECT id, at, actor_kind AS "actor_kind: ActorKind", actor_id, actor_name, action, target_kind,
                  target_id, before, after
           FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2"#,
        below,
        limit,
    )
    .fetch_all(db)
    .await?;
    let events = rows.into_iter().map(|row| AuditEvent {
        id: row.id,
        at: row.at,
        actor: Actor { kind: row.actor_kind, id: row.actor_id, name: row.actor_name },
        action: row.action,
        target_kind: row.target_kind,
        target_id: row.target_id,
        before: row.before,
        after: row.after,
    });
    Ok(events.collect())
}
