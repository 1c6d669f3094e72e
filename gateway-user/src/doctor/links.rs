//! Sizes: what the tunnel carries must fit into what the uplink carries.

use nexa_wire::doctor::Finding;

use crate::config::{Doctor, InterfaceName};
use crate::net::Net;
use crate::store::{Store, Stored};

pub const CHECK: &str = "mtu";
pub const TITLE: &str = "MTU";

/// What WireGuard adds over IPv6: 40 of IPv6, 8 of UDP, 32 of its own header and tag.
const OVERHEAD_BYTES: u32 = 80;

/// The tunnel's, where no snapshot says otherwise.
const USUAL_MTU: u32 = 1420;

/// Compares them.
pub async fn mtu(net: &Net, settings: &Doctor) -> Vec<Finding> {
    let wanted = settings.state_dir.as_deref().map(|folder| Store::new(folder).load());
    let wanted = match wanted {
        Some(Stored::Good(good)) => u32::from(good.snapshot.network.mtu),
        _ => USUAL_MTU,
    };
    let mut findings = vec![uplink(net, settings, wanted).await];
    if let Ok(Some(tunnel)) = net.link().await {
        let interface = &settings.host.interface;
        findings.push(if tunnel.mtu == wanted {
            Finding::ok(CHECK, TITLE, format!("{interface} has {wanted}, as the network says"))
        } else {
            let found = format!("{interface} has {}, the network says {wanted}", tunnel.mtu);
            Finding::warning(CHECK, TITLE, found, format!("ip link set {interface} mtu {wanted}"))
        });
    }
    findings
}

async fn uplink(net: &Net, settings: &Doctor, wanted: u32) -> Finding {
    // /proc/net is the first thread's; this one is ours.
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    let Some(name) = settings.host.uplink.clone().or_else(|| default_route(&routes)) else {
        let why = "`uplink` is not set and there is no default route, so nobody knows which interface it is";
        return Finding::skipped(CHECK, TITLE, why);
    };
    match net.link_of(&name).await {
        Ok(Some(link)) => fits(&name, link.mtu, wanted),
        Ok(None) => Finding::skipped(CHECK, TITLE, format!("there is no interface {name}")),
        Err(error) => Finding::skipped(CHECK, TITLE, error.to_string()),
    }
}

/// The interface of the IPv4 default route that is preferred: interface, destination, gateway, flags, two counters,
/// metric, mask (proc_pid_net(5)).
fn default_route(routes: &str) -> Option<InterfaceName> {
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [name, "00000000", _, _, _, _, metric, "00000000", ..] = fields[..] else { return None };
        Some((metric.parse::<u32>().ok()?, name.parse().ok()?))
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, name)| name)
}

fn fits(uplink: &InterfaceName, mtu: u32, wanted: u32) -> Finding {
    let room = mtu.saturating_sub(OVERHEAD_BYTES);
    if room >= wanted {
        let found = format!("{uplink} has {mtu}, which carries {wanted} in the tunnel");
        return Finding::ok(CHECK, TITLE, found);
    }
    Finding::problem(
        CHECK,
        TITLE,
        format!(
            "{uplink} has {mtu}; less {OVERHEAD_BYTES} of WireGuard over IPv6 that is {room}, but the tunnel has {wanted}"
        ),
        format!(
            "ip link set {uplink} mtu {}   # or, where its network carries no more, set the tunnel's MTU to {} under \
             Network in the console",
            wanted + OVERHEAD_BYTES,
            // No IPv6 below this (RFC 8200, section 5).
            room.max(1280)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uplink_is_where_the_preferred_default_route_goes() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let routes = "eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                      wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                      eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let found = default_route(&format!("{head}{routes}")).unwrap();
        assert_eq!(found.as_str(), "eth0");
        assert_eq!(default_route(head), None);
    }
}
