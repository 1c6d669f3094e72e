//! What gateways report of their health and of what their programs counted.

use chrono::{DateTime, Utc};
use nexa_types::{DeviceId, GatewayId, Generation, Revision, RuleId};
use nexa_wire::gateway::{Counters, DropCounter, Health, PeerCounters, RuleCounters};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::Result;
use super::rule::number;
use crate::model::{DeviceCounters, DropCount, GatewayHealth, Hits};

/// Most reasons that one gateway can have, twice over: names come from the gateway.
const MAX_REASONS: i64 = 64;

/// Notes a gateway's health.
pub(crate) async fn health(db: &mut PgConnection, id: GatewayId, health: &Health) -> Result<()> {
    let refusal = health.refusal.as_ref();
    sqlx::query!(
        "INSERT INTO gateway_health AS h (gateway_id, generation, content_hash, drift_entries, drifted_at, policy_repairs,
           refused_revision, refused_reason)
         VALUES ($1, $2, $3, $4::bigint, CASE WHEN $4::bigint > 0 THEN now() END, $5, $6, $7)
         ON CONFLICT (gateway_id) DO UPDATE SET generation = excluded.generation,
           content_hash = excluded.content_hash, drift_entries = excluded.drift_entries,
           drifted_at = COALESCE(excluded.drifted_at, h.drifted_at), policy_repairs = excluded.policy_repairs,
           refused_revision = excluded.refused_revision, refused_reason = excluded.refused_reason,
           reported_at = now()",
        id.0,
        count(health.generation.0),
        health.content_hash,
        health.drift_entries.map(count),
        count(health.policy_repairs),
        refusal.map(|refusal| count(refusal.revision.0)),
        refusal.map(|refusal| &*refusal.reason),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a gateway had no room to tell of some drops.
pub(crate) async fn missed_drops(db: &mut PgConnection, id: GatewayId, missed: u64) -> Result<()> {
    sqlx::query!(
        "UPDATE gateway_health SET missed_drops = counted_on(missed_drops, 0, $2) WHERE gateway_id = $1",
        id.0,
        count(missed)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds what a gateway counted since it last told. What it tells of rules and devices that are gone is passed over.
pub(crate) async fn counters(db: &mut PgConnection, id: GatewayId, counters: &Counters) -> Result<()> {
    drops(db, id, counters).await?;
    rules(db, id, counters).await?;
    devices(db, id, counters).await
}

async fn drops(db: &mut PgConnection, id: GatewayId, counters: &Counters) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        reason: &'a str,
        direction: &'static str,
        packets: i64,
    }
    let rows = counters.drops.iter().map(|DropCounter { reason, direction, packets }| Row {
        reason,
        direction: direction.as_str(),
        packets: count(*packets),
    });
    let rows: Vec<_> = rows.collect();
    sqlx::query!(
        "INSERT INTO gateway_drops AS g (gateway_id, reason, direction, packets, reported_packets)
         SELECT DISTINCT ON (r.reason, r.direction) $1::uuid, r.reason, r.direction, r.packets, r.packets
         FROM jsonb_to_recordset($2::jsonb) AS r (reason text, direction text, packets bigint)
         WHERE (SELECT count(*) FROM gateway_drops WHERE gateway_id = $1) < $3
            OR EXISTS (SELECT FROM gateway_drops k
                       WHERE k.gateway_id = $1 AND k.reason = r.reason AND k.direction = r.direction)
         ORDER BY r.reason, r.direction
         ON CONFLICT (gateway_id, reason, direction) DO UPDATE SET
           packets = counted_on(g.packets, g.reported_packets, excluded.packets), reported_packets = excluded.packets",
        id.0,
        Json(rows) as _,
        MAX_REASONS,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn rules(db: &mut PgConnection, id: GatewayId, counters: &Counters) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        kind: &'static str,
        rule: Option<i32>,
        packets: i64,
        bytes: i64,
    }
    let row = |rule: &RuleCounters| {
        let (kind, number) = match rule.rule {
            None => ("default_deny", None),
            Some(RuleId(0)) => ("implicit", None),
            Some(rule) => ("rule", Some(number(rule))),
        };
        // A rule only ever does one of them.
        let packets = count(rule.allowed_packets.saturating_add(rule.denied_packets));
        Row {
            kind,
            rule: number,
            packets,
            bytes: count(rule.allowed_bytes.saturating_add(rule.denied_bytes)),
        }
    };
    let rows: Vec<_> = counters.rules.iter().map(row).collect();
    sqlx::query!(
        "INSERT INTO rule_counters AS c (gateway_id, kind, rule_id, packets, bytes, reported_packets, reported_bytes,
           last_hit_at)
         SELECT DISTINCT ON (r.kind, r.rule) $1::uuid, r.kind, r.rule, r.packets, r.bytes, r.packets, r.bytes,
           CASE WHEN r.packets > 0 THEN now() END
         FROM jsonb_to_recordset($2::jsonb) AS r (kind text, rule integer, packets bigint, bytes bigint)
         WHERE r.kind <> 'rule' OR EXISTS (SELECT FROM rules WHERE rules.id = r.rule)
         ORDER BY r.kind, r.rule
         ON CONFLICT ON CONSTRAINT rule_counters_once DO UPDATE SET
           packets = counted_on(c.packets, c.reported_packets, excluded.packets),
           bytes = counted_on(c.bytes, c.reported_bytes, excluded.bytes),
           reported_packets = excluded.packets, reported_bytes = excluded.bytes,
           last_hit_at = CASE WHEN excluded.packets NOT IN (0, c.reported_packets) THEN now() ELSE c.last_hit_at END",
        id.0,
        Json(rows) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn devices(db: &mut PgConnection, id: GatewayId, counters: &Counters) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        device: Uuid,
        received_packets: i64,
        received_bytes: i64,
        sent_packets: i64,
        sent_bytes: i64,
    }
    #[derive(Serialize)]
    struct Drops<'a> {
        device: Uuid,
        reason: &'a str,
        packets: i64,
    }
    let row = |peer: &PeerCounters| Row {
        device: peer.device.0,
        received_packets: count(peer.received_packets),
        received_bytes: count(peer.received_bytes),
        sent_packets: count(peer.sent_packets),
        sent_bytes: count(peer.sent_bytes),
    };
    let rows: Vec<_> = counters.peers.iter().map(row).collect();
    sqlx::query!(
        "INSERT INTO device_counters AS c (device_id, gateway_id, received_packets, received_bytes, sent_packets,
           sent_bytes, reported_received_packets, reported_received_bytes, reported_sent_packets, reported_sent_bytes)
         SELECT DISTINCT ON (d.id) d.id, $1::uuid, r.received_packets, r.received_bytes, r.sent_packets, r.sent_bytes,
           r.received_packets, r.received_bytes, r.sent_packets, r.sent_bytes
         FROM jsonb_to_recordset($2::jsonb) AS r (device uuid, received_packets bigint, received_bytes bigint,
           sent_packets bigint, sent_bytes bigint)
         JOIN devices d ON d.id = r.device
         ORDER BY d.id
         ON CONFLICT (device_id, gateway_id) DO UPDATE SET
           received_packets = counted_on(c.received_packets, c.reported_received_packets, excluded.received_packets),
           received_bytes = counted_on(c.received_bytes, c.reported_received_bytes, excluded.received_bytes),
           sent_packets = counted_on(c.sent_packets, c.reported_sent_packets, excluded.sent_packets),
           sent_bytes = counted_on(c.sent_bytes, c.reported_sent_bytes, excluded.sent_bytes),
           reported_received_packets = excluded.received_packets, reported_received_bytes = excluded.received_bytes,
           reported_sent_packets = excluded.sent_packets, reported_sent_bytes = excluded.sent_bytes",
        id.0,
        Json(rows) as _,
    )
    .execute(&mut *db)
    .await?;
    let mut rows = Vec::new();
    for peer in &counters.peers {
        let device = peer.device.0;
        rows.extend(peer.drops.iter().map(|(reason, packets)| Drops {
            device,
            reason,
            packets: count(*packets),
        }));
    }
    sqlx::query!(
        "INSERT INTO device_drops AS c (device_id, gateway_id, reason, packets, reported_packets)
         SELECT DISTINCT ON (d.id, r.reason) d.id, $1::uuid, r.reason, r.packets, r.packets
         FROM jsonb_to_recordset($2::jsonb) AS r (device uuid, reason text, packets bigint)
         JOIN devices d ON d.id = r.device
         WHERE EXISTS (SELECT FROM gateway_drops g WHERE g.gateway_id = $1 AND g.reason = r.reason)
         ORDER BY d.id, r.reason
         ON CONFLICT (device_id, gateway_id, reason) DO UPDATE SET
           packets = counted_on(c.packets, c.reported_packets, excluded.packets), reported_packets = excluded.packets",
        id.0,
        Json(rows) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a gateway last told of its health, and what it counted whosever it was. Empty where it never told.
pub(crate) async fn gateway_health(db: &mut PgConnection, id: GatewayId) -> Result<GatewayHealth> {
    let told = sqlx::query!("SELECT * FROM gateway_health WHERE gateway_id = $1", id.0);
    let told = told.fetch_optional(&mut *db).await?;
    let mut health = told.map_or_else(GatewayHealth::default, |row| GatewayHealth {
        reported_at: Some(row.reported_at),
        generation: Some(Generation(whole(row.generation))),
        content_hash: row.content_hash,
        drift_entries: row.drift_entries.map(whole),
        drifted_at: row.drifted_at,
        policy_repairs: whole(row.policy_repairs),
        refused_revision: row.refused_revision.map(whole).map(Revision),
        refused_reason: row.refused_reason,
        missed_drops: whole(row.missed_drops),
        ..GatewayHealth::default()
    });
    let counted = sqlx::query!(
        "SELECT kind, packets, bytes, last_hit_at FROM rule_counters WHERE gateway_id = $1 AND kind <> 'rule'",
        id.0
    );
    for row in counted.fetch_all(&mut *db).await? {
        let hits =
            Hits { packets: whole(row.packets), bytes: whole(row.bytes), last_hit_at: row.last_hit_at };
        match &*row.kind {
            "implicit" => health.implicit = hits,
            _ => health.default_deny = hits,
        }
    }
    let drops = sqlx::query!(
        "SELECT reason, direction, packets FROM gateway_drops WHERE gateway_id = $1 AND packets > 0
         ORDER BY reason, direction",
        id.0
    );
    let count = |reason, direction, packets| DropCount { reason, direction, packets: whole(packets) };
    let drops = drops.fetch_all(db).await?;
    health.drops = drops.into_iter().map(|row| count(row.reason, Some(row.direction), row.packets)).collect();
    Ok(health)
}

/// What all gateways counted of a device.
pub(crate) async fn device_counters(db: &mut PgConnection, id: DeviceId) -> Result<DeviceCounters> {
    let sums = sqlx::query!(
        r#"SELECT LEAST(COALESCE(sum(received_packets), 0), 9223372036854775807)::bigint AS "received_packets!",
                  LEAST(COALESCE(sum(received_bytes), 0), 9223372036854775807)::bigint AS "received_bytes!",
                  LEAST(COALESCE(sum(sent_packets), 0), 9223372036854775807)::bigint AS "sent_packets!",
                  LEAST(COALESCE(sum(sent_bytes), 0), 9223372036854775807)::bigint AS "sent_bytes!"
           FROM device_counters WHERE device_id = $1"#,
        id.0
    );
    let sums = sums.fetch_one(&mut *db).await?;
    let drops = sqlx::query!(
        r#"SELECT reason, LEAST(sum(packets), 9223372036854775807)::bigint AS "packets!"
           FROM device_drops WHERE device_id = $1 GROUP BY reason HAVING sum(packets) > 0 ORDER BY reason"#,
        id.0
    );
    let drops = drops.fetch_all(db).await?.into_iter();
    Ok(DeviceCounters {
        received_packets: whole(sums.received_packets),
        received_bytes: whole(sums.received_bytes),
        sent_packets: whole(sums.sent_packets),
        sent_bytes: whole(sums.sent_bytes),
        drops: drops
            .map(|row| DropCount { reason: row.reason, direction: None, packets: whole(row.packets) })
            .collect(),
    })
}

/// What all gateways counted of these rules; those that never decided on a packet are left out.
pub(crate) async fn rule_hits(db: &mut PgConnection, rules: &[RuleId]) -> Result<Vec<(RuleId, Hits)>> {
    let numbers: Vec<i32> = rules.iter().copied().map(number).collect();
    let rows = sqlx::query!(
        r#"SELECT rule_id AS "rule!", LEAST(sum(packets), 9223372036854775807)::bigint AS "packets!",
                  LEAST(sum(bytes), 9223372036854775807)::bigint AS "bytes!", max(last_hit_at) AS last_hit_at
           FROM rule_counters WHERE rule_id = ANY($1) GROUP BY rule_id"#,
        &numbers
    );
    let rows = rows.fetch_all(db).await?.into_iter();
    let hits = |packets, bytes, last_hit_at: Option<DateTime<Utc>>| Hits {
        packets: whole(packets),
        bytes: whole(bytes),
        last_hit_at,
    };
    rows.map(|row| Ok((super::rule::rule_id(row.rule)?, hits(row.packets, row.bytes, row.last_hit_at))))
        .collect()
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counters in the database are never below zero.
fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
