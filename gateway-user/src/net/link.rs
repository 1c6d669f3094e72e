//! The tunnel's interface: state, MTU, addresses.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use nexa_wire::snapshot::Network;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkXdp};
use rtnetlink::{Handle, LinkUnspec};

use super::sysctl::{SysctlError, prepare_interface};
use crate::config::InterfaceName;

/// A connection to the kernel's routing tables, in the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub struct Net {
    pub(super) handle: Handle,
    pub(super) interface: InterfaceName,
}

/// An interface as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// The number of the XDP program on it.
    pub xdp: Option<u32>,
}

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No netlink socket.
    #[error("no netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The interface is gone.
    #[error("there is no interface {0}")]
    NoInterface(InterfaceName),
    /// The kernel refused a change.
    #[error("the kernel refused to {what}: {source}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        source: rtnetlink::Error,
    },
    /// A setting could not be made.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

impl Net {
    /// Connects; the connection's task runs in the current tokio runtime.
    ///
    /// # Errors
    /// [`NetError::Socket`].
    pub fn connect(interface: &InterfaceName) -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle, interface: interface.clone() })
    }

    /// The tunnel's interface, if it exists.
    ///
    /// # Errors
    /// [`NetError::Refused`].
    pub async fn link(&self) -> Result<Option<Link>, NetError> {
        self.link_of(&self.interface).await
    }

    /// An interface, if it exists.
    ///
    /// # Errors
    /// [`NetError::Refused`].
    pub async fn link_of(&self, interface: &InterfaceName) -> Result<Option<Link>, NetError> {
        let mut links = self.handle.link().get().match_name(interface.to_string()).execute();
        match links.try_next().await {
            Ok(found) => Ok(found.map(|message| Link {
                index: message.header.index,
                is_up: message.header.flags.contains(LinkFlags::Up),
                mtu: message.attributes.iter().find_map(mtu).unwrap_or_default(),
                xdp: message.attributes.iter().find_map(xdp),
            })),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(source) => Err(refused("show the interface")(source)),
        }
    }

    /// Gives the interface the network's addresses, MTU and routes and puts it up. Idempotent, and a change from an
    /// earlier network keeps what both have in common.
    ///
    /// Call it only when the programs are attached and a policy is in force: from here on packets pass.
    ///
    /// # Errors
    /// [`NetError`]; what was done until then stays, which opens nothing.
    pub async fn bring_up(&self, network: &Network) -> Result<(), NetError> {
        let link = self.link().await?.ok_or_else(|| NetError::NoInterface(self.interface.clone()))?;
        // A link-local address would let neighbours on the tunnel speak without a device's address.
        prepare_interface(&self.interface)?;
        self.keep_pools_off_the_default_route(network).await?;
        if link.mtu != u32::from(network.mtu) {
            let message = LinkUnspec::new_with_index(link.index).mtu(network.mtu.into()).build();
            self.handle.link().set(message).execute().await.map_err(refused("set the MTU"))?;
        }
        self.set_addresses(link.index, &[network.tunnel_v4.into(), network.tunnel_v6.into()]).await?;
        if !link.is_up {
            let message = LinkUnspec::new_with_index(link.index).up().build();
            self.handle.link().set(message).execute().await.map_err(refused("put the interface up"))?;
        }
        self.route_pools(link.index, network).await
    }

    /// All addresses of this host, in this network namespace, in order.
    ///
    /// # Errors
    /// [`NetError::Refused`].
    pub async fn local_addresses(&self) -> Result<Vec<IpAddr>, NetError> {
        let present: Vec<_> =
            self.handle.address().get().execute().try_collect().await.map_err(refused("list addresses"))?;
        // On a point-to-point link `Address` is the other end's.
        let own = present.iter().filter_map(|message| {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            local.or_else(|| message.attributes.iter().find_map(address_of))
        });
        let mut own: Vec<_> = own.collect();
        own.sort_unstable();
        own.dedup();
        Ok(own)
    }

    async fn set_addresses(&self, index: u32, wanted: &[IpAddr]) -> Result<(), NetError> {
        let request = self.handle.address().get().set_link_index_filter(index).execute();
        let present: Vec<_> = request.try_collect().await.map_err(refused("list addresses"))?;
        let mut held = Vec::new();
        for message in present {
            match message.attributes.iter().find_map(address_of) {
                Some(address)
                    if wanted.contains(&address) && message.header.prefix_len == host_length(address) =>
                {
                    held.push(address);
                }
                Some(_) => {
                    self.handle.address().del(message).execute().await.map_err(refused("drop an address"))?
                }
                None => {}
            }
        }
        for &address in wanted.iter().filter(|address| !held.contains(address)) {
            // A whole-host prefix: the pool's route is our own, so that it outlives an address change.
            let request = self.handle.address().add(index, address, host_length(address)).replace();
            request.execute().await.map_err(refused(&format!("add {address} to {}", self.interface)))?;
        }
        Ok(())
    }
}

pub(super) fn refused(what: &str) -> impl FnOnce(rtnetlink::Error) -> NetError + use<> {
    let what = what.to_owned();
    move |source| NetError::Refused { what, source }
}

const fn host_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

const fn address_of(attribute: &AddressAttribute) -> Option<IpAddr> {
    match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    }
}

fn mtu(attribute: &LinkAttribute) -> Option<u32> {
    match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

fn xdp(attribute: &LinkAttribute) -> Option<u32> {
    let LinkAttribute::Xdp(parts) = attribute else { return None };
    parts.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })
}
