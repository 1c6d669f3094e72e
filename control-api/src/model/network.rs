use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nexa_types::{Cidr, Revision};
use serde::Serialize;
use utoipa::ToSchema;

/// Addresses that devices and gateways share.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Network {
    /// Devices' IPv4 addresses come from here.
    #[schema(value_type = String)]
    pub pool_v4: Cidr,
    /// Devices' IPv6 addresses come from here.
    #[schema(value_type = String)]
    pub pool_v6: Cidr,
    /// The gateways' own IPv4 address inside the tunnel.
    #[schema(value_type = String)]
    pub tunnel_v4: Ipv4Addr,
    /// The gateways' own IPv6 address inside the tunnel.
    #[schema(value_type = String)]
    pub tunnel_v6: Ipv6Addr,
    /// Largest packet inside the tunnel, bytes.
    pub mtu: u16,
    /// The state of the control plane that gateways should have in force.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

impl Network {
    /// Takes the pools; the gateways' addresses are the first host address of each. `None` where a pool is of
    /// the wrong family or has no host address.
    pub fn new(pool_v4: Cidr, pool_v6: Cidr, mtu: u16, revision: Revision) -> Option<Self> {
        let (IpAddr::V4(base_v4), IpAddr::V6(base_v6)) = (pool_v4.net().addr(), pool_v6.net().addr()) else {
            return None;
        };
        let tunnel_v4 = Ipv4Addr::from_bits(base_v4.to_bits().checked_add(1)?);
        let tunnel_v6 = Ipv6Addr::from_bits(base_v6.to_bits().checked_add(1)?);
        let inside = pool_v4.contains(tunnel_v4.into()) && pool_v6.contains(tunnel_v6.into());
        inside.then_some(Self { pool_v4, pool_v6, tunnel_v4, tunnel_v6, mtu, revision })
    }
}
