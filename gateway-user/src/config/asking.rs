//! What is asked of a running daemon.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use nexa_types::Protocol;
use nexa_wire::local::SOCKET;

/// How a daemon is asked.
#[derive(Clone, Debug, Args)]
pub struct Asking {
    /// Unix socket of the daemon [default: gateway.sock in the state folder]
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Folder for the private key, the last snapshot and the peers' endpoints
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

impl Asking {
    /// Where the daemon listens, if that is known.
    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| self.state_dir.as_ref().map(|folder| folder.join(SOCKET)))
    }
}

/// What `flows` works with.
#[derive(Clone, Debug, Args)]
pub struct Flows {
    /// How the daemon is asked.
    #[command(flatten)]
    pub asking: Asking,
    /// Of one device only: its name, id, public key or tunnel address
    #[arg(long)]
    pub peer: Option<String>,
    /// Instead of those that are live, those that begin from now on, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
}

/// What `drops` works with.
#[derive(Clone, Debug, Args)]
pub struct Drops {
    /// How the daemon is asked.
    #[command(flatten)]
    pub asking: Asking,
    /// Of one device only: its name, id, public key or tunnel address
    #[arg(long)]
    pub peer: Option<String>,
    /// Go on with those that come, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
}

/// What `explain` works with.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// How the daemon is asked.
    #[command(flatten)]
    pub asking: Asking,
    /// Who would send the packet: a device's name, id, public key or tunnel address
    #[arg(long)]
    pub peer: String,
    /// Where it would go
    #[arg(long, value_parser = destination)]
    pub dst: IpAddr,
    /// Its protocol: tcp, udp, icmp or a number
    #[arg(long, value_parser = packet_protocol)]
    pub proto: Protocol,
    /// Its destination port, with TCP and UDP only
    #[arg(long, value_parser = port)]
    pub port: Option<u16>,
}

fn destination(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "an IPv4 or IPv6 address, such as 10.20.0.10")
}

fn packet_protocol(text: &str) -> Result<Protocol, &'static str> {
    let protocol = text.parse().ok().filter(|protocol| *protocol != Protocol::Any);
    protocol.ok_or("tcp, udp, icmp, or a protocol number from 0 to 255")
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port != 0).ok_or("a port from 1 to 65535")
}
