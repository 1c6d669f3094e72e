//! Devices of the host.

use std::fs::OpenOptions;
use std::path::Path;

use nexa_wire::doctor::Finding;

use crate::config::InterfaceName;

pub(super) fn tun() -> Finding {
    const NEED: &str = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(NEED) {
        Ok(_) => Finding::ok("tun-device", NEED, "can be opened"),
        Err(error) => Finding::problem(
            "tun-device",
            NEED,
            error.to_string(),
            "run `modprobe tun` on the host; in a container pass it with `--device /dev/net/tun`",
        ),
    }
}

pub(super) fn uplink(name: &InterfaceName) -> Finding {
    let need = format!("uplink {name}");
    // /sys/class/net may be another namespace's; this folder is always the thread's own.
    if Path::new("/proc/sys/net/ipv4/conf").join(name.as_str()).is_dir() {
        Finding::ok("uplink", &need, "exists")
    } else {
        Finding::problem(
            "uplink",
            &need,
            "there is no such interface",
            "give --uplink the interface that `ip route get 1.1.1.1` names",
        )
    }
}
