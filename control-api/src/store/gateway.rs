use chrono::{DateTime, Utc};
use nexa_types::{GatewayId, PublicKey, Revision};
use nexa_wire::gateway::PeerReport;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Result, StoreError, device, network};
use crate::model::Gateway;

/// A gateway that is about to be made.
pub(crate) struct NewGateway<'a> {
    pub(crate) id: GatewayId,
    pub(crate) name: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) token_hash: &'a [u8; 32],
}

/// Makes a gateway.
pub(crate) async fn insert(db: &mut PgConnection, gateway: NewGateway<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO gateways (id, name, host, port, token_hash) VALUES ($1, $2, $3, $4, $5)",
        gateway.id.0,
        gateway.name,
        gateway.host,
        i32::from(gateway.port),
        &gateway.token_hash[..],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The gateway, if there is one.
pub(crate) async fn get(db: &mut PgConnection, id: GatewayId) -> Result<Option<Gateway>> {
    let row = sqlx::query_as!(
        GatewayRow,
        r#"SELECT id, name, host, port, public_key, version, applied_revision, refused_reason, last_seen, created_at,
                  connection_id IS NOT NULL AND last_seen > now() - interval '45 s' AS connected
           FROM gateways WHERE id = $1"#,
        id.0
    );
    row.fetch_optional(db).await?.map(Gateway::try_from).transpose()
}

/// Up to `limit` gateways after id `after`.
pub(crate) async fn page(db: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<Gateway>> {
    let rows = sqlx::query_as!(
        GatewayRow,
        r#"SELECT id, name, host, port, public_key, version, applied_revision, refused_reason, last_seen, created_at,
                  connection_id IS NOT NULL AND last_seen > now() - interval '45 s' AS connected
           FROM gateways WHERE id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit,
    );
    rows.fetch_all(db).await?.into_iter().map(Gateway::try_from).collect()
}

/// Writes name and endpoint.
pub(crate) async fn update(
    db: &mut PgConnection,
    id: GatewayId,
    name: &str,
    host: &str,
    port: u16,
) -> Result<()> {
    sqlx::query!(
        "UPDATE gateways SET name = $2, host = $3, port = $4 WHERE id = $1",
        id.0,
        name,
        host,
        i32::from(port)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes the token's hash; the stream of the earlier token ends.
pub(crate) async fn set_token(db: &mut PgConnection, id: GatewayId, token_hash: &[u8; 32]) -> Result<()> {
    sqlx::query!(
        "UPDATE gateways SET token_hash = $2, connection_id = NULL WHERE id = $1",
        id.0,
        &token_hash[..]
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes the gateway's WireGuard key.
pub(crate) async fn set_key(db: &mut PgConnection, id: GatewayId, key: PublicKey) -> Result<()> {
    sqlx::query!("UPDATE gateways SET public_key = $2 WHERE id = $1", id.0, &key.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(())
}

/// Whether a device has this key.
pub(crate) async fn key_is_a_devices(db: &mut PgConnection, key: PublicKey) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM devices WHERE public_key = $1) AS "found!""#,
        &key.as_bytes()[..]
    );
    Ok(found.fetch_one(db).await?)
}

/// Removes a gateway.
pub(crate) async fn delete(db: &mut PgConnection, id: GatewayId) -> Result<()> {
    sqlx::query!("DELETE FROM gateways WHERE id = $1", id.0).execute(db).await?;
    Ok(())
}

/// Which gateway a token is of.
pub(crate) async fn by_token(db: &mut PgConnection, token_hash: &[u8; 32]) -> Result<Option<GatewayId>> {
    let id = sqlx::query_scalar!("SELECT id FROM gateways WHERE token_hash = $1", &token_hash[..]);
    Ok(id.fetch_optional(db).await?.map(GatewayId))
}

/// Makes `connection` the gateway's live stream, in the place of any other.
pub(crate) async fn connect(
    db: &mut PgConnection,
    id: GatewayId,
    connection: Uuid,
    version: &str,
    applied: Option<Revision>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE gateways SET connection_id = $2, version = $3, applied_revision = $4, last_seen = now() WHERE id = $1",
        id.0,
        connection,
        version,
        applied.map(number),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes a sign of life. `false` where `connection` is the gateway's live stream no more.
pub(crate) async fn seen(db: &mut PgConnection, connection: Uuid) -> Result<bool> {
    let done = sqlx::query!("UPDATE gateways SET last_seen = now() WHERE connection_id = $1", connection);
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Notes that the stream ended.
pub(crate) async fn disconnect(db: &mut PgConnection, connection: Uuid) -> Result<()> {
    sqlx::query!(
        "UPDATE gateways SET connection_id = NULL, last_seen = now() WHERE connection_id = $1",
        connection
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a snapshot is in force.
pub(crate) async fn applied(db: &mut PgConnection, connection: Uuid, revision: Revision) -> Result<()> {
    sqlx::query!(
        "UPDATE gateways SET applied_revision = $2, refused_revision = NULL, refused_reason = NULL, last_seen = now()
         WHERE connection_id = $1",
        connection,
        number(revision),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a snapshot was refused.
pub(crate) async fn refused(
    db: &mut PgConnection,
    connection: Uuid,
    revision: Revision,
    reason: &str,
) -> Result<()> {
    sqlx::query!(
        "UPDATE gateways SET refused_revision = $2, refused_reason = $3, last_seen = now() WHERE connection_id = $1",
        connection,
        number(revision),
        reason,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes what a gateway reports of its peers; devices that are gone are left out.
pub(crate) async fn report(db: &mut PgConnection, id: GatewayId, peers: &[PeerReport]) -> Result<()> {
    let devices: Vec<Uuid> = peers.iter().map(|peer| peer.device.0).collect();
    let handshakes: Vec<Option<DateTime<Utc>>> =
        peers.iter().map(|peer| time(peer.last_handshake_unix)).collect();
    let received: Vec<i64> = peers.iter().map(|peer| count(peer.received_bytes)).collect();
    let sent: Vec<i64> = peers.iter().map(|peer| count(peer.sent_bytes)).collect();
    // One report that names a device twice would update one row twice, which Postgres refuses.
    sqlx::query!(
        "INSERT INTO device_reports (device_id, gateway_id, last_handshake_at, received_bytes, sent_bytes)
         SELECT DISTINCT ON (d.id) d.id, $1, r.handshake, r.received, r.sent
         FROM unnest($2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[]) AS r (device, handshake, received, sent)
         JOIN devices d ON d.id = r.device
         ORDER BY d.id
         ON CONFLICT (device_id, gateway_id) DO UPDATE SET last_handshake_at = excluded.last_handshake_at,
           received_bytes = excluded.received_bytes, sent_bytes = excluded.sent_bytes, reported_at = now()",
        id.0,
        &devices,
        &handshakes as &[Option<DateTime<Utc>>],
        &received,
        &sent,
    )
    .execute(db)
    .await?;
    Ok(())
}

struct GatewayRow {
    id: Uuid,
    name: String,
    host: String,
    port: i32,
    public_key: Option<Vec<u8>>,
    version: Option<String>,
    applied_revision: Option<i64>,
    refused_reason: Option<String>,
    last_seen: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    connected: Option<bool>,
}

impl TryFrom<GatewayRow> for Gateway {
    type Error = StoreError;

    fn try_from(row: GatewayRow) -> Result<Self> {
        Ok(Self {
            id: GatewayId(row.id),
            name: row.name,
            endpoint: format!("{}:{}", row.host, row.port),
            public_key: row.public_key.map(|bytes| device::key("gateways", &bytes)).transpose()?,
            connected: row.connected.unwrap_or(false),
            applied_revision: row.applied_revision.map(network::revision_of).transpose()?,
            refused_reason: row.refused_reason,
            version: row.version,
            last_seen: row.last_seen,
            created_at: row.created_at,
        })
    }
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn time(unix_seconds: Option<u64>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(unix_seconds?).ok()?, 0)
}
