use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexa_types::Cidr;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Admin, Error, Reader, Result, device, input};
use crate::model::Network;
use crate::store::{AuditEntry, device as devices, network};

/// What the network becomes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateNetwork {
    /// Devices' IPv4 addresses come from here: /8 to /30.
    #[schema(example = "100.96.0.0/16")]
    pub pool_v4: String,
    /// Devices' IPv6 addresses come from here: /32 to /126.
    #[schema(example = "fd6e:7861::/64")]
    pub pool_v6: String,
    /// Largest packet inside the tunnel, bytes: 1280 to 9000.
    #[schema(minimum = 1280, maximum = 9000)]
    pub mtu: u16,
}

impl Reader {
    /// The network.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn network(&self) -> Result<Network> {
        Ok(network::get(&mut *self.store().connection().await?).await?)
    }
}

impl Admin {
    /// Changes pools and MTU.
    ///
    /// # Errors
    /// What is wrong with the request; `pool_in_use` for another pool while there are devices.
    pub async fn update_network(&self, request: &UpdateNetwork) -> Result<Network> {
        let pool_v4 = pool_v4(&request.pool_v4)?;
        let pool_v6 = pool_v6(&request.pool_v6)?;
        if !(1280..=9000).contains(&request.mtu) {
            let detail = "use 1280 to 9000; IPv6 needs 1280, and 1420 fits most networks";
            return Err(Error::invalid("invalid_mtu", "mtu", detail));
        }
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = network::get(db).await?;
        let pools_change = (before.pool_v4, before.pool_v6) != (pool_v4, pool_v6);
        if pools_change && devices::any(db).await? {
            let detail =
                "devices have addresses of these pools; remove all devices before you change the pools";
            return Err(Error::conflict("pool_in_use", detail));
        }
        let too_small = || Error::invalid("invalid_pool", "pool_v4", "use a pool with more addresses");
        let after = Network::new(pool_v4, pool_v6, request.mtu, before.revision).ok_or_else(too_small)?;
        if !pools_change && after.mtu == before.mtu {
            // Rolled back, and with it the revision that was begun.
            drop(change);
            return Ok(network::get(&mut *self.store().connection().await?).await?);
        }
        network::set(db, &after).await?;
        let entry = AuditEntry::new(&self.actor(), "network.update", "network").before(&before).after(&after);
        change.commit(entry).await?;
        Ok(after)
    }
}

fn pool_v4(text: &str) -> Result<Cidr> {
    let pool = input::cidr("pool_v4", text)?;
    let wrong = |detail| Error::invalid("invalid_pool", "pool_v4", detail);
    let IpNet::V4(net) = pool.net() else { return Err(wrong("use an IPv4 prefix, like 100.96.0.0/16")) };
    if !(8..=30).contains(&net.prefix_len()) || device::device_range(pool).is_none() {
        return Err(wrong("use a prefix from /8 to /30"));
    }
    let special: [Ipv4Net; 5] = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"]
        .map(|net| net.parse().expect("is a prefix"));
    if special.iter().any(|special| special.contains(&net) || net.contains(special)) {
        return Err(wrong(
            "use private addresses, like 100.96.0.0/16; these are loopback, link-local or multicast",
        ));
    }
    Ok(pool)
}

fn pool_v6(text: &str) -> Result<Cidr> {
    let pool = input::cidr("pool_v6", text)?;
    let wrong = |detail| Error::invalid("invalid_pool", "pool_v6", detail);
    let IpNet::V6(net) = pool.net() else { return Err(wrong("use an IPv6 prefix, like fd6e:7861::/64")) };
    if !(32..=126).contains(&net.prefix_len()) || device::device_range(pool).is_none() {
        return Err(wrong("use a prefix from /32 to /126"));
    }
    let special: [Ipv6Net; 4] =
        ["::/32", "fe80::/10", "ff00::/8", "64:ff9b::/96"].map(|net| net.parse().expect("is a prefix"));
    if special.iter().any(|special| special.contains(&net) || net.contains(special)) {
        return Err(wrong(
            "use private addresses, like fd6e:7861::/64; these are loopback, link-local or multicast",
        ));
    }
    Ok(pool)
}
