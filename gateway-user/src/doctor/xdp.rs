//! The guard on the uplink: how it will run there, and what else is there.

use nexa_wire::doctor::Finding;

use crate::config::{Host, InterfaceName, XdpMode};
use crate::net::{Net, takes_native_xdp};
use crate::xdp_guard;

const CHECK: &str = "xdp-guard";
const TITLE: &str = "XDP guard";

/// Looks at the uplink.
pub async fn guard(net: &Net, host: &Host) -> Finding {
    if host.xdp_guard == XdpMode::Off {
        return Finding::skipped(CHECK, TITLE, "it is off");
    }
    let Some(uplink) = &host.uplink else {
        return Finding::skipped(CHECK, TITLE, "`uplink` is not set, so it is nowhere attached");
    };
    let link = match net.link_of(uplink).await {
        Ok(Some(link)) => link,
        Ok(None) => return Finding::skipped(CHECK, TITLE, format!("there is no interface {uplink}")),
        Err(error) => return Finding::skipped(CHECK, TITLE, error.to_string()),
    };
    match link.xdp {
        Some(id) if xdp_guard::is_ours(id) => {
            Finding::ok(CHECK, TITLE, format!("attached to {uplink}, program {id}"))
        }
        Some(id) => Finding::warning(
            CHECK,
            TITLE,
            format!(
                "{uplink} has XDP program {id} of somebody else, so the gateway serves without the guard"
            ),
            format!(
                "ip link set dev {uplink} xdp off   # or, if that program shall stay, set `xdp_guard` to off"
            ),
        ),
        None => driver(uplink, link.index, host.xdp_guard),
    }
}

fn driver(uplink: &InterfaceName, index: u32, mode: XdpMode) -> Finding {
    match (takes_native_xdp(index), mode) {
        (_, XdpMode::Generic) => {
            Finding::ok(CHECK, TITLE, format!("will run in the stack, ahead of {uplink}'s sockets"))
        }
        (Ok(Some(true)), _) => Finding::ok(CHECK, TITLE, format!("{uplink}'s driver takes it")),
        (Ok(Some(false)), XdpMode::Native) => Finding::warning(
            CHECK,
            TITLE,
            format!("{uplink}'s driver has no native XDP, so the gateway serves without the guard"),
            "set `xdp_guard` to auto, which runs it in the stack",
        ),
        (Ok(Some(false)), _) => Finding::ok(
            CHECK,
            TITLE,
            format!("{uplink}'s driver has no native XDP; it will run in the stack"),
        ),
        (Ok(None), _) => Finding::ok(
            CHECK,
            TITLE,
            "kernels before 6.3 do not say whether the driver takes it; `run` tries",
        ),
        (Err(error), _) => Finding::skipped(CHECK, TITLE, error.to_string()),
    }
}
