use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{AuditEntry, Result, StoreError};
use crate::audit_chain::{self, Anchor, Hash, Link};
use crate::model::{Actor, ActorKind, AuditEvent, ChainedEvent};

/// Writes one row at the end of the chain. From here to the end of the transaction nobody else does.
pub(super) async fn insert(db: &mut PgConnection, entry: AuditEntry) -> Result<()> {
    let head = sqlx::query!(
        r#"SELECT position, hash, clock_timestamp() AS "at!", nextval(pg_get_serial_sequence('audit', 'id')) AS "id!"
           FROM audit_head FOR UPDATE"#
    );
    let head = head.fetch_one(&mut *db).await?;
    let position = head.position + 1;
    let event = AuditEvent {
        id: head.id,
        at: head.at,
        actor: entry.actor,
        action: entry.action.to_owned(),
        target_kind: entry.target_kind.to_owned(),
        target_id: entry.target_id,
        before: entry.before,
        after: entry.after,
    };
    let hash = audit_chain::hash(&stored_hash(&head.hash)?, position, &event);
    sqlx::query!(
        "INSERT INTO audit (id, at, actor_kind, actor_id, actor_name, actor_address, action, target_kind, target_id,
                            before, after, position, hash, actor_token)
         OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        event.id,
        event.at,
        event.actor.kind as ActorKind,
        event.actor.id,
        event.actor.name,
        event.actor.address.map(IpNet::from),
        event.action,
        event.target_kind,
        event.target_id,
        event.before,
        event.after,
        position,
        &hash.0[..],
        event.actor.token,
    )
    .execute(&mut *db)
    .await?;
    set_head(db, Anchor { position, hash }).await
}

/// Chains the rows that have no place yet, oldest first, up to `limit`. Whether there were fewer.
pub(super) async fn chain_older(db: &mut PgConnection, limit: i64) -> Result<bool> {
    let head = sqlx::query!("SELECT position, hash FROM audit_head FOR UPDATE").fetch_one(&mut *db).await?;
    let mut head = Anchor { position: head.position, hash: stored_hash(&head.hash)? };
    let rows = sqlx::query_as!(
        AuditRow,
        r#"SELECT id, at, actor_kind AS "actor_kind: ActorKind", actor_id, actor_name, actor_address, actor_token, action,
                  target_kind, target_id, before, after, position, hash
           FROM audit WHERE position IS NULL ORDER BY id LIMIT $1"#,
        limit,
    );
    let rows = rows.fetch_all(&mut *db).await?;
    let all = i64::try_from(rows.len()).is_ok_and(|rows| rows < limit);
    for row in rows {
        let event = row.chained()?.event;
        let position = head.position + 1;
        head = Anchor { position, hash: audit_chain::hash(&head.hash, position, &event) };
        sqlx::query!(
            "UPDATE audit SET position = $2, hash = $3 WHERE id = $1",
            event.id,
            position,
            &head.hash.0[..]
        )
        .execute(&mut *db)
        .await?;
    }
    set_head(db, head).await?;
    Ok(all)
}

/// Up to `limit` events below id `below`, newest first.
pub(crate) async fn page(db: &mut PgConnection, below: i64, limit: i64) -> Result<Vec<ChainedEvent>> {
    let rows = sqlx::query_as!(
        AuditRow,
        r#"SELECT id, at, actor_kind AS "actor_kind: ActorKind", actor_id, actor_name, actor_address, actor_token, action,
                  target_kind, target_id, before, after, position, hash
           FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2"#,
        below,
        limit,
    );
    rows.fetch_all(db).await?.into_iter().map(AuditRow::chained).collect()
}

/// Up to `limit` entries of the chain after a position.
pub(crate) async fn links(db: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Link>> {
    let rows = sqlx::query_as!(
        AuditRow,
        r#"SELECT id, at, actor_kind AS "actor_kind: ActorKind", actor_id, actor_name, actor_address, actor_token, action,
                  target_kind, target_id, before, after, position, hash
           FROM audit WHERE position > $1 ORDER BY position LIMIT $2"#,
        after,
        limit,
    );
    let link = |row: AuditRow| match row.chained()? {
        ChainedEvent { position: Some(position), event, hash: Some(hash) } => {
            Ok(Link { position, event, hash })
        }
        ChainedEvent { event, .. } => Err(StoreError::corrupt("audit", event.id)),
    };
    rows.fetch_all(db).await?.into_iter().map(link).collect()
}

/// Where the chain ends, and how many rows have no place in it.
pub(crate) async fn head(db: &mut PgConnection) -> Result<(Anchor, i64)> {
    let row = sqlx::query!(
        r#"SELECT position, hash, (SELECT count(*) FROM audit WHERE position IS NULL) AS "unchained!"
           FROM audit_head"#
    );
    let row = row.fetch_one(db).await?;
    Ok((Anchor { position: row.position, hash: stored_hash(&row.hash)? }, row.unchained))
}

async fn set_head(db: &mut PgConnection, head: Anchor) -> Result<()> {
    sqlx::query!("UPDATE audit_head SET position = $1, hash = $2", head.position, &head.hash.0[..])
        .execute(db)
        .await?;
    Ok(())
}

fn stored_hash(bytes: &[u8]) -> Result<Hash> {
    Ok(Hash(bytes.try_into().map_err(|_| StoreError::corrupt("audit", "a hash of another length"))?))
}

struct AuditRow {
    id: i64,
    at: DateTime<Utc>,
    actor_kind: ActorKind,
    actor_id: Option<Uuid>,
    actor_name: String,
    actor_address: Option<IpNet>,
    actor_token: Option<Uuid>,
    action: String,
    target_kind: String,
    target_id: String,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
    position: Option<i64>,
    hash: Option<Vec<u8>>,
}

impl AuditRow {
    fn chained(self) -> Result<ChainedEvent> {
        let address: Option<IpAddr> = self.actor_address.map(|net| net.addr());
        let event = AuditEvent {
            id: self.id,
            at: self.at,
            actor: Actor {
                kind: self.actor_kind,
                id: self.actor_id,
                name: self.actor_name,
                address,
                token: self.actor_token,
            },
            action: self.action,
            target_kind: self.target_kind,
            target_id: self.target_id,
            before: self.before,
            after: self.after,
        };
        let hash = self.hash.as_deref().map(stored_hash).transpose()?;
        Ok(ChainedEvent { position: self.position, event, hash })
    }
}
