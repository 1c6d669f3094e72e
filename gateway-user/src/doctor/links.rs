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
    let Some(name) = &settings.host.uplink else {
        return Finding::skipped(CHECK, TITLE, "`uplink` is not set, so its size is not known");
    };
    match net.link_of(name).await {
        Ok(Some(link)) => fits(name, link.mtu, wanted),
        Ok(None) => Finding::skipped(CHECK, TITLE, format!("there is no interface {name}")),
        Err(error) => Finding::skipped(CHECK, TITLE, error.to_string()),
    }
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
