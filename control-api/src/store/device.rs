use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use nexa_types::{DeviceId, PublicKey, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Result, StoreError};
use crate::model::{Device, DeviceStatus};

/// Whose devices are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owned {
    /// One user's.
    By(UserId),
    /// All.
    ByAnyone,
}

impl Owned {
    pub(super) fn user(self) -> Option<Uuid> {
        match self {
            Self::By(user) => Some(user.0),
            Self::ByAnyone => None,
        }
    }
}

/// A device that is about to be made.
pub(crate) struct NewDevice<'a> {
    pub(crate) id: DeviceId,
    pub(crate) user: UserId,
    pub(crate) name: &'a str,
    pub(crate) public_key: PublicKey,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

/// Makes a device.
pub(crate) async fn insert(db: &mut PgConnection, device: NewDevice<'_>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO devices (id, user_id, name, public_key, v4, v6) VALUES ($1, $2, $3, $4, $5, $6)",
        device.id.0,
        device.user.0,
        device.name,
        &device.public_key.as_bytes()[..],
        IpNet::from(IpAddr::V4(device.v4)),
        IpNet::from(IpAddr::V6(device.v6)),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The device, if there is one and it is among those meant.
pub(crate) async fn get(db: &mut PgConnection, id: DeviceId, owned: Owned) -> Result<Option<Device>> {
    let row = sqlx::query_as!(
        DeviceRow,
        r#"SELECT id AS "id!", user_id AS "user_id!", name AS "name!", public_key AS "public_key!", v4 AS "v4!",
                  v6 AS "v6!", disabled AS "disabled!", expires_at, created_at AS "created_at!",
                  username AS "username!", user_disabled AS "user_disabled!", last_handshake_at,
                  received_bytes AS "received_bytes!", sent_bytes AS "sent_bytes!"
           FROM device_details WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"#,
        id.0,
        owned.user(),
    );
    row.fetch_optional(db).await?.map(Device::try_from).transpose()
}

/// Up to `limit` devices after id `after`.
pub(crate) async fn page(
    db: &mut PgConnection,
    owned: Owned,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Device>> {
    let rows = sqlx::query_as!(
        DeviceRow,
        r#"SELECT id AS "id!", user_id AS "user_id!", name AS "name!", public_key AS "public_key!", v4 AS "v4!",
                  v6 AS "v6!", disabled AS "disabled!", expires_at, created_at AS "created_at!",
                  username AS "username!", user_disabled AS "user_disabled!", last_handshake_at,
                  received_bytes AS "received_bytes!", sent_bytes AS "sent_bytes!"
           FROM device_details WHERE id > $1 AND ($2::uuid IS NULL OR user_id = $2) ORDER BY id LIMIT $3"#,
        after,
        owned.user(),
        limit,
    );
    rows.fetch_all(db).await?.into_iter().map(Device::try_from).collect()
}

/// Writes what can change of a device.
pub(crate) async fn update(db: &mut PgConnection, device: &Device) -> Result<()> {
    sqlx::query!(
        "UPDATE devices SET name = $2, disabled = $3, expires_at = $4,
                expiry_announced = COALESCE($4 <= now(), false) WHERE id = $1",
        device.id.0,
        device.name,
        device.disabled,
        device.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a device; its addresses rest until `until`. Refused by a foreign key while a rule names it.
pub(crate) async fn delete(db: &mut PgConnection, id: DeviceId, until: DateTime<Utc>) -> Result<()> {
    rest(db, id.0, until).await?;
    sqlx::query!("DELETE FROM devices WHERE id = $1", id.0).execute(db).await?;
    Ok(())
}

/// Lets the addresses of a device, or of all devices of a user, rest until `until`.
pub(crate) async fn rest(db: &mut PgConnection, device_or_user: Uuid, until: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "INSERT INTO resting_addresses (address, until)
         SELECT unnest(ARRAY[v4, v6]), $2 FROM devices WHERE id = $1 OR user_id = $1
         ON CONFLICT (address) DO UPDATE SET until = excluded.until",
        device_or_user,
        until,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether there is any device.
pub(crate) async fn any(db: &mut PgConnection) -> Result<bool> {
    let found = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM devices) AS "found!""#);
    Ok(found.fetch_one(db).await?)
}

/// Whether a gateway has this key: a device with the same would take its place in the tunnel.
pub(crate) async fn key_is_a_gateways(db: &mut PgConnection, key: PublicKey) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM gateways WHERE public_key = $1) AS "found!""#,
        &key.as_bytes()[..]
    );
    Ok(found.fetch_one(db).await?)
}

/// The lowest address from `first` to `last`, both included and of one family, that no device has and that
/// does not rest. The caller holds the network's lock, so nobody takes it meanwhile.
pub(crate) async fn lowest_free(
    db: &mut PgConnection,
    first: IpAddr,
    last: IpAddr,
) -> Result<Option<IpAddr>> {
    // It is `first`, or follows a used one.
    let free = sqlx::query_scalar!(
        r#"WITH used AS (
             SELECT v4 AS address FROM devices WHERE family($1::inet) = 4
             UNION ALL SELECT v6 FROM devices WHERE family($1::inet) = 6
             UNION ALL SELECT address FROM resting_addresses WHERE until > now())
           SELECT min(candidate) AS free FROM (
             SELECT $1::inet AS candidate
             UNION ALL SELECT address + 1 FROM used WHERE address >= $1 AND address < $2::inet) candidates
           WHERE NOT EXISTS (SELECT FROM used WHERE address = candidate)"#,
        IpNet::from(first),
        IpNet::from(last),
    );
    Ok(free.fetch_one(db).await?.map(|net| net.addr()))
}

/// Marks one device whose expiry has come as announced.
pub(crate) async fn take_expired(db: &mut PgConnection) -> Result<Option<DeviceId>> {
    let id = sqlx::query_scalar!(
        "UPDATE devices SET expiry_announced = true
         WHERE id = (SELECT id FROM devices WHERE expires_at <= now() AND NOT expiry_announced LIMIT 1)
         RETURNING id"
    );
    Ok(id.fetch_optional(db).await?.map(DeviceId))
}

/// Whether [`take_expired`] would find any.
pub(crate) async fn any_newly_expired(db: &mut PgConnection) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM devices WHERE expires_at <= now() AND NOT expiry_announced) AS "found!""#
    );
    Ok(found.fetch_one(db).await?)
}

/// Clears away addresses that have rested enough.
pub(crate) async fn delete_rested(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM resting_addresses WHERE until <= now()").execute(db).await?;
    Ok(())
}

struct DeviceRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    public_key: Vec<u8>,
    v4: IpNet,
    v6: IpNet,
    disabled: bool,
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    username: String,
    user_disabled: bool,
    last_handshake_at: Option<DateTime<Utc>>,
    received_bytes: i64,
    sent_bytes: i64,
}

impl TryFrom<DeviceRow> for Device {
    type Error = StoreError;

    fn try_from(row: DeviceRow) -> Result<Self> {
        let status = match row.expires_at {
            _ if row.user_disabled => DeviceStatus::UserDisabled,
            _ if row.disabled => DeviceStatus::Disabled,
            Some(expiry) if expiry <= Utc::now() => DeviceStatus::Expired,
            _ => DeviceStatus::Active,
        };
        Ok(Self {
            id: DeviceId(row.id),
            name: row.name,
            user_id: UserId(row.user_id),
            username: row.username,
            public_key: key("devices", &row.public_key)?,
            v4: v4(row.v4)?,
            v6: v6(row.v6)?,
            status,
            disabled: row.disabled,
            expires_at: row.expires_at,
            created_at: row.created_at,
            last_handshake_at: row.last_handshake_at,
            received_bytes: row.received_bytes.unsigned_abs(),
            sent_bytes: row.sent_bytes.unsigned_abs(),
        })
    }
}

pub(super) fn key(table: &'static str, bytes: &[u8]) -> Result<PublicKey> {
    let bytes = bytes.try_into().map_err(|_| StoreError::corrupt(table, "a key of another length"))?;
    PublicKey::from_bytes(bytes).map_err(|error| StoreError::corrupt(table, error))
}

pub(super) fn v4(net: IpNet) -> Result<Ipv4Addr> {
    match net.addr() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(StoreError::corrupt("devices", address)),
    }
}

pub(super) fn v6(net: IpNet) -> Result<Ipv6Addr> {
    match net.addr() {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(address) => Err(StoreError::corrupt("devices", address)),
    }
}
