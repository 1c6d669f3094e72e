use ipnet::IpNet;
use nexa_types::{Cidr, Revision};
use sqlx::PgConnection;

use super::{Result, StoreError};
use crate::model::Network;

/// Where revisions are announced.
pub(super) const CHANNEL: &str = "nexa_revision";

/// Locks the network row until the transaction ends and counts the revision up.
pub(super) async fn next_revision(db: &mut PgConnection) -> Result<i64> {
    let row = sqlx::query_scalar!("UPDATE network SET revision = revision + 1 RETURNING revision");
    Ok(row.fetch_one(db).await?)
}

/// As [`next_revision`], and beyond a revision that a gateway has already.
pub(super) async fn revision_beyond(db: &mut PgConnection, known: i64) -> Result<i64> {
    let row = sqlx::query_scalar!(
        r#"UPDATE network SET revision = greatest(revision, $1) + 1 RETURNING revision AS "revision!""#,
        known
    );
    Ok(row.fetch_one(db).await?)
}

/// Locks the network row until the transaction ends.
pub(super) async fn lock(db: &mut PgConnection) -> Result<()> {
    sqlx::query_scalar!("SELECT revision FROM network FOR UPDATE").fetch_one(db).await?;
    Ok(())
}

/// Announces a revision as of the commit.
pub(super) async fn notify(db: &mut PgConnection, revision: i64) -> Result<()> {
    sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, revision.to_string()).execute(db).await?;
    Ok(())
}

/// The revision that is in force.
pub(crate) async fn revision(db: &mut PgConnection) -> Result<Revision> {
    revision_of(sqlx::query_scalar!("SELECT revision FROM network").fetch_one(db).await?)
}

/// The network.
pub(crate) async fn get(db: &mut PgConnection) -> Result<Network> {
    let row = sqlx::query!("SELECT pool_v4, pool_v6, mtu, revision FROM network").fetch_one(db).await?;
    let mtu = u16::try_from(row.mtu).map_err(|_| StoreError::corrupt("network", row.mtu))?;
    let (pool_v4, pool_v6) = (cidr("network", row.pool_v4)?, cidr("network", row.pool_v6)?);
    Network::new(pool_v4, pool_v6, mtu, revision_of(row.revision)?)
        .ok_or_else(|| StoreError::corrupt("network", "pools without a host address"))
}

/// Writes pools and MTU.
pub(crate) async fn set(db: &mut PgConnection, network: &Network) -> Result<()> {
    sqlx::query!(
        "UPDATE network SET pool_v4 = $1, pool_v6 = $2, mtu = $3",
        network.pool_v4.net(),
        network.pool_v6.net(),
        i32::from(network.mtu),
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) fn cidr(table: &'static str, net: IpNet) -> Result<Cidr> {
    Cidr::new(net).map_err(|error| StoreError::corrupt(table, error))
}

pub(super) fn revision_of(number: i64) -> Result<Revision> {
    Ok(Revision(u64::try_from(number).map_err(|_| StoreError::corrupt("network", number))?))
}
