//! Packets that gateways dropped: the newest of each gateway, for some days.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use ipnet::IpNet;
use nexa_types::{DeviceId, GatewayId, Generation, RuleId};
use nexa_wire::drops::Route;
use nexa_wire::gateway::DropReport;
use nexa_wire::local::NearMiss;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::rule::{number, rule_id};
use super::{Result, StoreError};
use crate::model::DropEvent;

/// Most events that are kept of one gateway.
pub(crate) const MAX_PER_GATEWAY: i64 = 10_000;

/// How long an event is kept.
const MAX_AGE: TimeDelta = TimeDelta::days(7);

/// Which events are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) gateway: Option<Uuid>,
    pub(crate) device: Option<Uuid>,
    pub(crate) rule: Option<RuleId>,
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<DateTime<Utc>>,
}

/// Adds what a gateway tells, and lets the oldest of it go where it has too many.
pub(crate) async fn insert(db: &mut PgConnection, gateway: GatewayId, drops: &[DropReport]) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        device: Option<Uuid>,
        first_at: DateTime<Utc>,
        last_at: DateTime<Utc>,
        packets: i64,
        untold: i64,
        direction: &'static str,
        source: Option<IpAddr>,
        source_port: Option<u16>,
        destination: Option<IpAddr>,
        destination_port: Option<u16>,
        protocol: Option<u8>,
        reason: &'a str,
        rule: Option<i32>,
        generation: i64,
        nearest: Option<&'a NearMiss>,
    }
    let rows = drops.iter().map(|DropReport { device, dropped }| Row {
        device: device.map(|device| device.0),
        first_at: dropped.first_at,
        last_at: dropped.last_at,
        packets: count(dropped.packets),
        untold: count(dropped.untold_packets),
        direction: dropped.direction.as_str(),
        source: dropped.route.map(|route| route.source),
        source_port: dropped.route.map(|route| route.source_port),
        destination: dropped.route.map(|route| route.destination),
        destination_port: dropped.route.map(|route| route.destination_port),
        protocol: dropped.route.map(|route| route.protocol),
        reason: &dropped.reason,
        rule: dropped.rule.map(number),
        generation: count(dropped.generation.0),
        nearest: dropped.nearest.as_ref(),
    });
    let rows: Vec<_> = rows.collect();
    sqlx::query!(
        "INSERT INTO drop_events (gateway_id, device_id, first_at, last_at, packets, untold_packets, direction, source,
           source_port, destination, destination_port, protocol, reason, rule_id, generation, nearest)
         SELECT $1::uuid, d.id, r.first_at, r.last_at, r.packets, r.untold, r.direction, r.source, r.source_port,
           r.destination, r.destination_port, r.protocol, r.reason, r.rule, r.generation, r.nearest
         FROM jsonb_to_recordset($2::jsonb) AS r (device uuid, first_at timestamptz, last_at timestamptz,
           packets bigint, untold bigint, direction text, source inet, source_port integer, destination inet,
           destination_port integer, protocol smallint, reason text, rule integer, generation bigint, nearest jsonb)
         LEFT JOIN devices d ON d.id = r.device
         ORDER BY r.last_at",
        gateway.0,
        Json(rows) as _,
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "DELETE FROM drop_events WHERE gateway_id = $1
         AND id <= (SELECT id FROM drop_events WHERE gateway_id = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)",
        gateway.0,
        MAX_PER_GATEWAY,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` events below id `below` that `filter` means, newest first.
pub(crate) async fn page(
    db: &mut PgConnection,
    filter: &Filter,
    below: i64,
    limit: i64,
) -> Result<Vec<DropEvent>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT e.id, e.gateway_id, e.device_id, d.name AS "device_name?", u.username AS "username?", e.first_at,
                  e.last_at, e.packets, e.untold_packets, e.direction, e.source, e.source_port, e.destination,
                  e.destination_port, e.protocol, e.reason, e.rule_id, e.generation,
                  e.nearest AS "nearest: Json<NearMiss>"
           FROM drop_events e LEFT JOIN devices d ON d.id = e.device_id LEFT JOIN users u ON u.id = d.user_id
           WHERE e.id < $1 AND ($2::uuid IS NULL OR e.gateway_id = $2) AND ($3::uuid IS NULL OR e.device_id = $3)
             AND ($4::integer IS NULL OR e.rule_id = $4) AND ($5::text IS NULL OR e.reason = $5)
             AND ($6::timestamptz IS NULL OR e.last_at >= $6)
           ORDER BY e.id DESC LIMIT $7"#,
        below,
        filter.gateway,
        filter.device,
        filter.rule.map(number),
        filter.reason,
        filter.since,
        limit,
    );
    rows.fetch_all(db).await?.into_iter().map(DropEvent::try_from).collect()
}

/// Clears away what is too old.
pub(crate) async fn delete_old(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM drop_events WHERE received_at < $1", Utc::now() - MAX_AGE).execute(db).await?;
    Ok(())
}

struct Row {
    id: i64,
    gateway_id: Uuid,
    device_id: Option<Uuid>,
    device_name: Option<String>,
    username: Option<String>,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    packets: i64,
    untold_packets: i64,
    direction: String,
    source: Option<IpNet>,
    source_port: Option<i32>,
    destination: Option<IpNet>,
    destination_port: Option<i32>,
    protocol: Option<i16>,
    reason: String,
    rule_id: Option<i32>,
    generation: i64,
    nearest: Option<Json<NearMiss>>,
}

impl TryFrom<Row> for DropEvent {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |what: &str| StoreError::corrupt("drop_events", what);
        let port = |port: Option<i32>| u16::try_from(port.unwrap_or(0)).map_err(|_| corrupt("port"));
        let route = match (row.source, row.destination, row.protocol) {
            (Some(source), Some(destination), Some(protocol)) => Some(Route {
                source: source.addr(),
                source_port: port(row.source_port)?,
                destination: destination.addr(),
                destination_port: port(row.destination_port)?,
                protocol: u8::try_from(protocol).map_err(|_| corrupt("protocol"))?,
            }),
            _ => None,
        };
        let number = |number: i64| u64::try_from(number).map_err(|_| corrupt("a number below zero"));
        let nearest = row.nearest.map(|nearest| nearest.0);
        Ok(Self {
            id: row.id,
            gateway_id: GatewayId(row.gateway_id),
            device_id: row.device_id.map(DeviceId),
            device_name: row.device_name,
            username: row.username,
            first_at: row.first_at,
            last_at: row.last_at,
            packets: number(row.packets)?,
            untold_packets: number(row.untold_packets)?,
            direction: row.direction,
            source: route.map(|route| route.source),
            source_port: route.map(|route| route.source_port),
            destination: route.map(|route| route.destination),
            destination_port: route.map(|route| route.destination_port),
            protocol: route.map(|route| route.protocol),
            reason: row.reason,
            rule_id: row.rule_id.map(rule_id).transpose()?,
            generation: Generation(number(row.generation)?),
            nearest_rule_id: nearest.as_ref().map(|nearest| nearest.rule),
            nearest: nearest.zip(route).map(|(nearest, route)| nearest.sentence(&route.query())),
        })
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
