//! Names and addresses of a lab. Names carry a prefix that derives from the lab's folder, so that the labs of two
//! checkouts never meet.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// The prefix of everything a lab names: `nx`, four hex digits, `-`. Short, as an interface's name has 15 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The prefix of the lab in `folder`, which must be absolute.
    pub fn of(folder: &Path) -> Self {
        // FNV-1a: stable between builds, which the standard library's hasher does not promise.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in folder.as_os_str().as_encoded_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(format!("nx{:04x}-", (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) & 0xffff))
    }

    /// Prefixes a name.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    /// The prefix itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An address of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Pair {
    /// Both, IPv4 first.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Both with a port, IPv4 first.
    pub fn sockets(self, port: u16) -> [SocketAddr; 2] {
        self.both().map(|address| SocketAddr::new(address, port))
    }
}

const fn wan(host: u16) -> Pair {
    Pair { v4: Ipv4Addr::new(10, 99, 0, host as u8), v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, host) }
}

const fn lan(host: u16) -> Pair {
    Pair { v4: Ipv4Addr::new(10, 20, 0, host as u8), v6: Ipv6Addr::new(0xfd20, 0, 0, 0, 0, 0, 0, host) }
}

/// control-api on the wide-area network.
pub const CONTROL: Pair = wan(2);
/// The first gateway on the wide-area network.
pub const GATEWAY: Pair = wan(10);
/// The clients on the wide-area network.
pub const CLIENTS: [Pair; 2] = [wan(21), wan(22)];
/// The first gateway on the LAN.
pub const GATEWAY_LAN: Pair = lan(1);
/// The LAN's server.
pub const SERVER: Pair = lan(10);
/// Another address on the LAN, with the same servers.
pub const OTHER_SERVER: Pair = lan(11);

/// Length of the networks' IPv4 prefixes.
pub const LENGTH_V4: u8 = 24;
/// Length of the networks' IPv6 prefixes.
pub const LENGTH_V6: u8 = 64;
/// The LAN as networks.
pub const LAN_NETWORKS: [&str; 2] = ["10.20.0.0/24", "fd20::/64"];

/// control-api's port.
pub const CONTROL_PORT: u16 = 8080;
/// The gateway's WireGuard port.
pub const WIREGUARD_PORT: u16 = 51900;
/// The gateway's metrics, on its own loopback.
pub const METRICS_PORT: u16 = 9580;

/// Ports of the LAN's servers.
pub mod port {
    /// HTTP that the walk-through grants first.
    pub const HTTP: u16 = 80;
    /// HTTP that it grants and takes away.
    pub const SECOND_HTTP: u16 = 8080;
    /// HTTP that is never granted.
    pub const NEVER: u16 = 8081;
    /// HTTPS.
    pub const HTTPS: u16 = 443;
    /// DNS.
    pub const DNS: u16 = 53;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Prefix;

    #[test]
    fn folders_have_their_own_stable_prefixes() {
        let prefix = Prefix::of(Path::new("/home/ada/nexavpn/target/lab"));
        assert_eq!(prefix, Prefix::of(Path::new("/home/ada/nexavpn/target/lab")));
        assert_ne!(prefix, Prefix::of(Path::new("/home/ada/nexavpn-2/target/lab")));
    }

    #[test]
    fn names_fit_an_interface() {
        let prefix = Prefix::of(Path::new("/x"));
        assert_eq!(prefix.as_str().len(), 7);
        assert!(prefix.name("c1").len() <= 15, "the kernel's limit for interface names");
    }
}
