use ipnet::IpNet;
use nexa_types::{Cidr, DeviceId};

use super::{Caller, Error, Result, wg_quick};
use crate::model::{Device, DeviceStatus, Profile, ProfileDevice};
use crate::store::{Db, device, network, snapshot};

impl Caller {
    /// What a device needs to connect.
    ///
    /// # Errors
    /// [`Error::NotFound`], for a user also where the device is another's; `device_not_active` where no gateway
    /// serves it.
    pub async fn profile(&self, id: DeviceId) -> Result<Profile> {
        let mut db = self.store().consistent_read().await?;
        let device = device::get(&mut db, id, self.seen()).await?.ok_or(Error::NotFound("device"))?;
        if device.status != DeviceStatus::Active {
            let detail = "this device is disabled or expired, so no gateway serves it; ask an administrator";
            return Err(Error::conflict("device_not_active", detail));
        }
        of(&mut db, &device).await
    }

    /// The profile as a file for `wg-quick`, with a placeholder for the private key.
    ///
    /// # Errors
    /// As [`Self::profile`]; `no_gateway` while no gateway has connected.
    pub async fn wg_quick(&self, id: DeviceId) -> Result<String> {
        let profile = self.profile(id).await?;
        wg_quick::render(&profile).ok_or_else(|| {
            let detail = "no gateway has connected yet, so its key is not known; start one, then try again";
            Error::conflict("no_gateway", detail)
        })
    }
}

/// What an active device needs to connect; `db` reads one state throughout.
pub(super) async fn of(db: &mut Db, device: &Device) -> Result<Profile> {
    let network = network::get(db).await?;
    let gateways = snapshot::gateways(db).await?;
    let granted = snapshot::granted(db, device.id).await?;
    let tunnel = [network.tunnel_v4.into(), network.tunnel_v6.into()].map(Cidr::host);
    Ok(Profile {
        device: ProfileDevice { id: device.id, name: device.name.clone(), public_key: device.public_key },
        address_v4: device.v4,
        address_v6: device.v6,
        dns: Vec::new(),
        mtu: network.mtu,
        revision: network.revision,
        gateways,
        allowed_ips: aggregate(granted.into_iter().chain(tunnel)),
    })
}

/// The fewest prefixes that hold exactly these.
fn aggregate(cidrs: impl Iterator<Item = Cidr>) -> Vec<Cidr> {
    let nets: Vec<IpNet> = cidrs.map(Cidr::net).collect();
    IpNet::aggregate(&nets).into_iter().filter_map(|net| Cidr::new(net).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_merged_and_families_kept_apart() {
        let merged = |texts: &[&str]| -> Vec<String> {
            aggregate(texts.iter().map(|text| text.parse().unwrap()))
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(merged(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7/32", "10.0.0.0/24"]), ["10.0.0.0/23"]);
        assert_eq!(merged(&["::/0", "0.0.0.0/0", "100.96.0.1/32"]), ["0.0.0.0/0", "::/0"]);
        assert_eq!(merged(&["10.0.1.0/24", "10.0.2.0/24"]), ["10.0.1.0/24", "10.0.2.0/24"]);
    }
}
