//! The pools' routes: into the tunnel, and behind that nowhere.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use nexa_types::Cidr;
use nexa_wire::snapshot::Network;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::link::{Net, NetError, refused};

/// Marks routes as ours, so that those of an earlier network are found again: `proto 78` in `ip route`.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(78);

/// Behind every route that somebody may have set on purpose.
const LAST_RESORT: u32 = 4_000_000_000;

impl Net {
    /// Without the tunnel's route, when the interface vanishes, replies would leave in clear by the default route.
    pub(super) async fn keep_pools_off_the_default_route(&self, network: &Network) -> Result<(), NetError> {
        for pool in [network.pool_v4, network.pool_v6] {
            let route = towards(pool).kind(RouteType::Unreachable).priority(LAST_RESORT).build();
            self.add_route(route, pool).await?;
        }
        Ok(())
    }

    /// Routes the pools into the tunnel and removes our routes of other pools.
    pub(super) async fn route_pools(&self, index: u32, network: &Network) -> Result<(), NetError> {
        let pools = [network.pool_v4, network.pool_v6];
        for pool in pools {
            let scope = if pool.net().addr().is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
            self.add_route(towards(pool).output_interface(index).scope(scope).build(), pool).await?;
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            let routes: Vec<_> = self
                .handle
                .route()
                .get(filter)
                .execute()
                .try_collect()
                .await
                .map_err(refused("list routes"))?;
            let stale = |route: &&RouteMessage| {
                route.header.protocol == PROTOCOL && !destination(route).is_some_and(|to| pools.contains(&to))
            };
            for route in routes.iter().filter(stale) {
                let request = self.handle.route().del(route.clone());
                request.execute().await.map_err(refused("drop a route of an earlier pool"))?;
            }
        }
        Ok(())
    }

    async fn add_route(&self, route: RouteMessage, pool: Cidr) -> Result<(), NetError> {
        let request = self.handle.route().add(route).replace();
        request.execute().await.map_err(refused(&format!("route {pool}")))
    }
}

fn towards(pool: Cidr) -> RouteMessageBuilder<IpAddr> {
    let net = pool.net();
    let route = RouteMessageBuilder::<IpAddr>::new().protocol(PROTOCOL);
    // The builder refuses only a prefix that is longer than its family's, which no `Cidr` is.
    route.destination_prefix(net.addr(), net.prefix_len()).expect("a Cidr's length fits its family")
}

fn destination(route: &RouteMessage) -> Option<Cidr> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    format!("{address}/{}", route.header.destination_prefix_length).parse().ok()
}
