//! Devices of the host.

use std::fs::OpenOptions;
use std::path::Path;

use super::Finding;
use crate::config::InterfaceName;

pub(super) fn tun() -> Finding {
    const NEED: &str = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(NEED) {
        Ok(_) => Finding::present(NEED, "can be opened"),
        Err(error) => Finding::missing(
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
        Finding::present(&need, "exists")
    } else {
        Finding::missing(
            &need,
            "there is no such interface",
            "give --uplink the interface that `ip route get 1.1.1.1` names",
        )
    }
}
