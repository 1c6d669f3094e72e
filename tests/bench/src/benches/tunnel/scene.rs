//! Two namespaces with a veth between them, and the tunnels over it.

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, Result};
use nexa_lab::{ledger::Ledger, names::Prefix, namespace::Namespace};

use super::{engine::Engine, flood::Flood, link::Link};
use crate::benches::Setting;

/// Addresses for measurements (RFC 2544, appendix C.2.2): the client's and the gateway's.
const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 2, 2), Ipv4Addr::new(198, 18, 2, 1)];

/// What a case measures over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// No tunnel.
    Veth,
    /// The client's engine and the gateway's.
    Tunnel(Engine, Engine),
    /// Engines of this program, with the XDP guard before the gateway's.
    Guard,
}

pub(super) struct Scene<'a> {
    // Tunnels end before their namespaces go.
    links: Vec<(Over, Link)>,
    flood: Option<Flood>,
    prefix: Prefix,
    client: Namespace,
    gateway: Namespace,
    ours: PathBuf,
    tools: PathBuf,
    ledger: &'a Ledger,
}

impl<'a> Scene<'a> {
    pub(super) fn new(setting: &Setting<'_>, ledger: &'a Ledger) -> Result<Self> {
        let namespace = |name: &str| {
            let name = setting.folder.prefix().name(name);
            ledger.namespace(&name)?;
            Namespace::new(&name)
        };
        let (client, gateway) = (namespace("tc")?, namespace("tg")?);
        client.ip([format!("link add veth0 type veth peer name veth0 netns {}", gateway.name())])?;
        for (end, address) in [&client, &gateway].into_iter().zip(ENDS) {
            end.ip([format!("address add {address}/30 dev veth0"), "link set veth0 up".to_owned()])?;
        }
        let ours = setting.programs.gateway.with_file_name("nexa-wg");
        Ok(Self {
            links: Vec::new(),
            flood: None,
            prefix: setting.folder.prefix().clone(),
            client,
            gateway,
            ours,
            tools: setting.tools.to_owned(),
            ledger,
        })
    }

    /// Starts what a case measures over, once for all cases.
    pub(super) fn prepare(&mut self, over: Over) -> Result<()> {
        if over == Over::Guard && self.flood.is_none() {
            self.flood = Some(Flood::new(&self.prefix, self.ledger)?);
        }
        let Over::Tunnel(client, gateway) = over else { return Ok(()) };
        if self.link(over).is_none() {
            let number = u8::try_from(self.links.len()).context("too many tunnels")?;
            let programs = [self.ours.as_path(), self.tools.as_path()];
            let ends = self.ends();
            let link = Link::start(number, [client, gateway], ends, ENDS[1], programs, self.ledger)?;
            self.links.push((over, link));
        }
        Ok(())
    }

    pub(super) fn link(&self, over: Over) -> Option<&Link> {
        self.links.iter().find(|(of, _)| *of == over).map(|(_, link)| link)
    }

    pub(super) const fn flood(&self) -> Option<&Flood> {
        self.flood.as_ref()
    }

    /// Where the gateway is found.
    pub(super) fn address(&self, over: Over) -> Ipv4Addr {
        self.link(over).map_or(ENDS[1], |link| link.address)
    }

    /// The client's namespace and the gateway's.
    pub(super) const fn ends(&self) -> [&Namespace; 2] {
        [&self.client, &self.gateway]
    }
}
