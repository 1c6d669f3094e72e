//! The lab's networks: a switch that everybody outside is connected to, and the LAN behind the gateway.

use anyhow::Result;

use crate::{
    ledger::Ledger,
    names::{
        CLIENTS, CONTROL, GATEWAY, GATEWAY_LAN, LENGTH_V4, LENGTH_V6, OTHER_SERVER, Pair, Prefix, SERVER,
    },
    namespace::Namespace,
};

/// All namespaces, connected and addressed. Dropping it removes them.
#[derive(Debug)]
pub struct Network {
    /// The wide-area network: a switch.
    pub wan: Namespace,
    /// control-api's host.
    pub control: Namespace,
    /// The gateway's host, `wan0` outside and `lan0` inside.
    pub gateway: Namespace,
    /// The LAN's host, on `lan0`. It has no route but to the LAN: answers reach clients by the gateway's SNAT only.
    pub lan: Namespace,
    /// The clients' hosts, on `wan0`.
    pub clients: [Namespace; 2],
}

impl Network {
    /// Makes the namespaces and connects them.
    ///
    /// # Errors
    /// When the kernel refuses, or something of that name is there.
    pub fn new(prefix: &Prefix, ledger: &Ledger) -> Result<Self> {
        let namespace = |name: &str| {
            let name = prefix.name(name);
            ledger.namespace(&name)?;
            Namespace::new(&name)
        };
        let network = Self {
            wan: namespace("wan")?,
            control: namespace("ctl")?,
            gateway: namespace("gw1")?,
            lan: namespace("lan")?,
            clients: [namespace("c1")?, namespace("c2")?],
        };
        network.wan.ip(["link add br0 type bridge", "link set br0 up"])?;
        network.plug("ctl", &network.control, CONTROL)?;
        network.plug("gw1", &network.gateway, GATEWAY)?;
        network.plug("c1", &network.clients[0], CLIENTS[0])?;
        network.plug("c2", &network.clients[1], CLIENTS[1])?;
        network
            .gateway
            .ip([format!("link add lan0 type veth peer name lan0 netns {}", network.lan.name())])?;
        network.gateway.ip(addressed("lan0", &[GATEWAY_LAN]))?;
        network.lan.ip(addressed("lan0", &[SERVER, OTHER_SERVER]))?;
        Ok(network)
    }

    /// Connects a host's `wan0` to the switch.
    fn plug(&self, port: &str, host: &Namespace, address: Pair) -> Result<()> {
        self.wan.ip([
            format!("link add {port} type veth peer name wan0 netns {}", host.name()),
            format!("link set {port} master br0 up"),
        ])?;
        host.ip(addressed("wan0", &[address]))
    }
}

fn addressed(interface: &str, addresses: &[Pair]) -> Vec<String> {
    let mut commands = vec![format!("link set {interface} up")];
    for Pair { v4, v6 } in addresses {
        commands.push(format!("address add {v4}/{LENGTH_V4} dev {interface}"));
        commands.push(format!("address add {v6}/{LENGTH_V6} dev {interface} nodad"));
    }
    commands
}
