use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use ipnet::IpNet;
use nexa_types::{Cidr, DeviceId, PublicKey, UserId};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Meaning as _;
use super::page::Window;
use super::rule::is_named;
use super::{Caller, Error, Result, input};
use crate::model::{Device, Network, Page, PageQuery};
use crate::store::device::{NewDevice, Owned};
use crate::store::{AuditEntry, Db, device, network};

/// How long the addresses of a removed device rest before another device may have them.
pub(super) const ADDRESS_REST: TimeDelta = TimeDelta::hours(1);

/// A device to enrol for oneself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// 1 to 63 printable characters.
    pub name: String,
    /// What `wg pubkey` prints. The private key stays on the device.
    #[schema(example = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=")]
    pub public_key: String,
}

/// What to change of a device; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateDevice {
    /// 1 to 63 printable characters.
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// Whether no gateway serves it. Only administrators change it.
    #[schema(nullable = false)]
    pub disabled: Option<bool>,
    /// When it stops being served; null for never. Only administrators change it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// Tells null, which clears, from a member that is left out.
fn given<'de, D: Deserializer<'de>>(json: D) -> std::result::Result<Option<Option<DateTime<Utc>>>, D::Error> {
    Deserialize::deserialize(json).map(Some)
}

impl Caller {
    /// Enrols a device for the caller and gives it an address of each family.
    ///
    /// # Errors
    /// What is wrong with the request; `name_taken`; `public_key_taken`; `pool_exhausted`.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<Device> {
        let new = request.check()?;
        // Its lock on the network makes enrolments take turns; the unique constraints hold without it.
        let mut change = self.store().visible_change().await?;
        let device = insert(change.connection(), self.user.id, new).await?;
        change.commit(AuditEntry::new(&self.actor(), "device.enrol", device.id).after(&device)).await?;
        Ok(device)
    }

    /// Devices, oldest first: all for an auditor, one's own for a user.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn devices(&self, query: &PageQuery) -> Result<Page<Device>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let devices =
            device::page(&mut db, self.seen(), window.cursor.unwrap_or_default(), window.rows()).await?;
        Ok(window.page(devices, |device| device.id.to_string()))
    }

    /// A device.
    ///
    /// # Errors
    /// [`Error::NotFound`], for a user also where it is another's.
    pub async fn device(&self, id: DeviceId) -> Result<Device> {
        let mut db = self.store().connection().await?;
        device::get(&mut db, id, self.seen()).await?.ok_or(Error::NotFound("device"))
    }

    /// Changes a device.
    ///
    /// # Errors
    /// As [`Self::device`]; what is wrong with the request; `name_taken`; `operator_required` for what only
    /// operators change.
    pub async fn update_device(&self, id: DeviceId, request: &UpdateDevice) -> Result<Device> {
        let name = request.name.as_deref().map(|text| input::name("name", text)).transpose()?;
        if let Some(Some(expiry)) = request.expires_at
            && !(1970..=9999).contains(&expiry.year())
        {
            return Err(Error::invalid(
                "invalid_time",
                "expires_at",
                "use a time between the years 1970 and 9999",
            ));
        }
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = self.device_to_change(db, id).await?;
        if (request.disabled.is_some() || request.expires_at.is_some()) && !self.is_operator() {
            let detail =
                "only an operator or administrator disables devices or sets when they expire; ask one";
            return Err(Error::forbidden("operator_required", detail));
        }
        let mut after = before.clone();
        after.name = name.unwrap_or(after.name);
        after.disabled = request.disabled.unwrap_or(after.disabled);
        after.expires_at = request.expires_at.unwrap_or(after.expires_at);
        if after == before {
            return Ok(after);
        }
        device::update(db, &after).await.when_violates("devices_name", || Error::name_taken("name"))?;
        let after = device::get(db, id, self.seen()).await?.ok_or(Error::NotFound("device"))?;
        change
            .commit(AuditEntry::new(&self.actor(), "device.update", id).before(&before).after(&after))
            .await?;
        Ok(after)
    }

    /// Removes a device; its addresses rest for an hour.
    ///
    /// # Errors
    /// As [`Self::update_device`]; `in_use` while a rule or a resource names it.
    pub async fn delete_device(&self, id: DeviceId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = self.device_to_change(db, id).await?;
        is_named(db, id.0).await?;
        device::delete(db, id, Utc::now() + ADDRESS_REST).await?;
        Ok(change.commit(AuditEntry::new(&self.actor(), "device.delete", id).before(&before)).await?)
    }

    /// A device that the caller may change: his own, or anybody's for an operator.
    async fn device_to_change(&self, db: &mut Db, id: DeviceId) -> Result<Device> {
        let device = device::get(db, id, self.seen()).await?.ok_or(Error::NotFound("device"))?;
        if device.user_id != self.user.id && !self.is_operator() {
            let detail = "only an operator or administrator changes the devices of others; ask one";
            return Err(Error::forbidden("operator_required", detail));
        }
        Ok(device)
    }
}

impl EnrolRequest {
    /// Name and key, where they can be some.
    pub(super) fn check(&self) -> Result<(String, PublicKey)> {
        Ok((input::name("name", &self.name)?, input::public_key(&self.public_key)?))
    }
}

/// Makes a device of this name and key, with an address of each family. The caller holds the network's lock.
pub(super) async fn insert(db: &mut Db, user: UserId, new: (String, PublicKey)) -> Result<Device> {
    let (name, public_key) = new;
    let key_taken = || {
        let detail = "this key belongs to a device or gateway already; make a new one by `wg genkey`";
        Error::conflict_at("public_key_taken", "public_key", detail)
    };
    if device::key_is_a_gateways(db, public_key).await? {
        return Err(key_taken());
    }
    let network = network::get(db).await?;
    let (v4, v6) = allocate(db, &network).await?;
    let id = DeviceId(Uuid::now_v7());
    let new = NewDevice { id, user, name: &name, public_key, v4, v6 };
    device::insert(db, new).await.map_err(|error| match error.constraint() {
        Some("devices_name") => Error::name_taken("name"),
        Some("devices_public_key") => key_taken(),
        // Removed since the request was authorized.
        Some("devices_user_id_fkey") => Error::NotFound("user"),
        _ => error.into(),
    })?;
    device::get(db, id, Owned::By(user)).await?.ok_or(Error::NotFound("device"))
}

/// The lowest free address of each pool. The caller holds the network's lock.
async fn allocate(db: &mut Db, network: &Network) -> Result<(Ipv4Addr, Ipv6Addr)> {
    let exhausted = |pool: Cidr| {
        let detail = format!(
            "no address of {pool} is free; remove devices, or ask an administrator for a larger pool"
        );
        Error::conflict("pool_exhausted", detail)
    };
    let mut lowest_free = async |pool| {
        let (first, last) = device_range(pool).ok_or_else(|| exhausted(pool))?;
        device::lowest_free(db, first, last).await?.ok_or_else(|| exhausted(pool))
    };
    match (lowest_free(network.pool_v4).await?, lowest_free(network.pool_v6).await?) {
        (IpAddr::V4(v4), IpAddr::V6(v6)) => Ok((v4, v6)),
        other => Err(Error::Internal(format!("pools of the wrong family gave {other:?}"))),
    }
}

/// First and last address of a pool that devices may have: neither the network's, nor the gateways', which is the
/// first host's, nor IPv4's broadcast. `None` where none is left.
pub(super) fn device_range(pool: Cidr) -> Option<(IpAddr, IpAddr)> {
    match pool.net() {
        IpNet::V4(net) => {
            let (first, last) =
                (net.network().to_bits().checked_add(2)?, net.broadcast().to_bits().checked_sub(1)?);
            (first <= last).then(|| (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into()))
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits().checked_add(2)?, net.broadcast().to_bits());
            (first <= last).then(|| (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(pool: &str) -> Option<(String, String)> {
        device_range(pool.parse().unwrap()).map(|(first, last)| (first.to_string(), last.to_string()))
    }

    #[test]
    fn devices_never_have_the_networks_the_gateways_or_the_broadcast_address() {
        let text = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
        assert_eq!(range("100.96.0.0/29"), text("100.96.0.2", "100.96.0.6"));
        assert_eq!(range("100.96.0.0/30"), text("100.96.0.2", "100.96.0.2"));
        assert_eq!(range("100.96.0.0/31"), None);
        assert_eq!(range("fd00::/126"), text("fd00::2", "fd00::3"));
        assert_eq!(range("fd00::/127"), None);
    }
}
