//! One gateway per interface and network namespace.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::config::InterfaceName;

/// Held for as long as this process serves the interface; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct Instance {
    /// Abstract names are per network namespace, as interfaces are, and leave no file behind.
    _socket: UnixDatagram,
}

impl Instance {
    /// Claims the interface.
    ///
    /// # Errors
    /// When another process serves it.
    pub fn claim(interface: &InterfaceName) -> anyhow::Result<Self> {
        let address = SocketAddr::from_abstract_name(format!("nexavpn/gateway/{interface}"))?;
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => anyhow::bail!(
                "another nexa-gateway serves {interface} in this network namespace; stop it first, or give this one \
                 another --interface"
            ),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_served_once() {
        let name: InterfaceName = format!("t{}", std::process::id()).parse().unwrap();
        let other: InterfaceName = format!("u{}", std::process::id()).parse().unwrap();
        let first = Instance::claim(&name).unwrap();
        let error = Instance::claim(&name).unwrap_err().to_string();
        assert!(error.contains(&format!("serves {name}")), "{error}");
        Instance::claim(&other).unwrap();
        drop(first);
        Instance::claim(&name).unwrap();
    }
}
