use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;
use nexa_types::{Cidr, PublicKey};
use zeroize::Zeroizing;

use crate::platform::index_of;
use crate::{PrivateKey, Psk};

/// What was asked.
#[derive(Debug)]
pub(super) enum Request {
    /// To tell everything.
    Get,
    /// To change this.
    Set(Set),
}

/// What is to be changed; what was not named stays.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// Another own key, or none from now on.
    pub(super) private_key: Option<Option<PrivateKey>>,
    pub(super) listen_port: Option<u16>,
    pub(super) fwmark: Option<u32>,
    pub(super) peers_before: Before,
    /// In the order they were named; one may come again.
    pub(super) peers: Vec<PeerSet>,
}

/// What becomes of what was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Before {
    #[default]
    Kept,
    Replaced,
}

/// What is to be changed about one peer.
#[derive(Debug)]
pub(super) struct PeerSet {
    pub(super) public_key: PublicKey,
    pub(super) presence: Presence,
    /// Another secret, or none from now on.
    pub(super) preshared_key: Option<Option<Psk>>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) persistent_keepalive: Option<u16>,
    pub(super) allowed_ips_before: Before,
    pub(super) allowed_ips: Vec<AllowedIp>,
}

/// Whether a peer is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is, and is made when it is not.
    Wanted,
    /// It is changed if it is there.
    AsItIs,
    /// It is not.
    Unwanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AllowedIp {
    Add(Cidr),
    Remove(Cidr),
}

/// Why a request was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("a request is lines of key=value, and line {0} is none")]
    NotALine(usize),
    #[error("the first line is get=1 or set=1")]
    NoOperation,
    #[error("line {0}: {1} is unknown, or has its place elsewhere")]
    Key(usize, String),
    /// The value may be a secret, and is not repeated.
    #[error("line {0}: the value of {1} is none that it can have")]
    Value(usize, String),
}

/// Reads a request: its lines, without the empty one that ends it.
pub(super) fn parse(bytes: &[u8]) -> Result<Request, BadRequest> {
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().map(|(n, line)| split(n + 1, line));
    let request = match lines.next().transpose()? {
        Some((_, "get", "1")) => Request::Get,
        Some((_, "set", "1")) => Request::Set(Set::default()),
        _ => return Err(BadRequest::NoOperation),
    };
    match request {
        Request::Get => match lines.next() {
            // The last line ends with a line feed too.
            None => Ok(Request::Get),
            Some(line) => line.and_then(|(n, key, _)| Err(BadRequest::Key(n, key.to_owned()))),
        },
        Request::Set(mut set) => {
            for line in lines {
                let (n, key, value) = line?;
                let done = match set.peers.last_mut() {
                    None => set.take(key, value),
                    Some(_) if key == "public_key" => set.take(key, value),
                    Some(peer) => peer.take(key, value),
                };
                done.map_err(|fault| match fault {
                    Fault::Key => BadRequest::Key(n, key.to_owned()),
                    Fault::Value => BadRequest::Value(n, key.to_owned()),
                })?;
            }
            Ok(Request::Set(set))
        }
    }
}

fn split(n: usize, line: &[u8]) -> Result<(usize, &str, &str), BadRequest> {
    let text = std::str::from_utf8(line).map_err(|_| BadRequest::NotALine(n))?;
    let (key, value) = text.split_once('=').ok_or(BadRequest::NotALine(n))?;
    Ok((n, key, value))
}

/// What is wrong with a line.
enum Fault {
    Key,
    Value,
}

impl Set {
    fn take(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        match key {
            "private_key" => self.private_key = Some(secret(value)?.map(|key| PrivateKey::from_bytes(*key))),
            "listen_port" => self.listen_port = Some(number(value)?),
            "fwmark" => self.fwmark = Some(mark(value)?),
            "replace_peers" => {
                is_true(value)?;
                self.peers_before = Before::Replaced;
            }
            "public_key" => {
                let bytes = secret(value)?.ok_or(Fault::Value)?;
                let public_key = PublicKey::from_bytes(*bytes).map_err(|_| Fault::Value)?;
                self.peers.push(PeerSet::of(public_key));
            }
            _ => return Err(Fault::Key),
        }
        Ok(())
    }
}

impl PeerSet {
    pub(super) const fn of(public_key: PublicKey) -> Self {
        Self {
            public_key,
            presence: Presence::Wanted,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            allowed_ips_before: Before::Kept,
            allowed_ips: Vec::new(),
        }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        match key {
            "remove" => {
                is_true(value)?;
                self.presence = Presence::Unwanted;
            }
            "update_only" => {
                is_true(value)?;
                if self.presence == Presence::Wanted {
                    self.presence = Presence::AsItIs;
                }
            }
            "preshared_key" => self.preshared_key = Some(secret(value)?.map(|key| Psk::from_bytes(*key))),
            "endpoint" => self.endpoint = Some(endpoint(value)?),
            "persistent_keepalive_interval" => self.persistent_keepalive = Some(number(value)?),
            "replace_allowed_ips" => {
                is_true(value)?;
                self.allowed_ips_before = Before::Replaced;
                self.allowed_ips.clear();
            }
            "allowed_ip" => self.allowed_ips.push(match value.strip_prefix('-') {
                Some(value) => AllowedIp::Remove(cidr(value)?),
                None => AllowedIp::Add(cidr(value.strip_prefix('+').unwrap_or(value))?),
            }),
            "protocol_version" if value == "1" => {}
            "protocol_version" => return Err(Fault::Value),
            _ => return Err(Fault::Key),
        }
        Ok(())
    }
}

fn is_true(value: &str) -> Result<(), Fault> {
    if value == "true" { Ok(()) } else { Err(Fault::Value) }
}

fn number(value: &str) -> Result<u16, Fault> {
    // `parse` takes a sign.
    if value.starts_with('+') { Err(Fault::Value) } else { value.parse().map_err(|_| Fault::Value) }
}

/// `wg` writes a mark in decimal.
fn mark(value: &str) -> Result<u32, Fault> {
    let parsed = match value.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u32::from_str_radix(hex, 16),
        _ if value.starts_with('+') => return Err(Fault::Value),
        _ => value.parse(),
    };
    parsed.map_err(|_| Fault::Value)
}

/// The 32 bytes of 64 hexadecimal digits; none for all zero, which stands for no key.
fn secret(value: &str) -> Result<Option<Zeroizing<[u8; 32]>>, Fault> {
    let digits = value.as_bytes();
    let mut bytes = Zeroizing::new([0_u8; 32]);
    if digits.len() != 2 * bytes.len() {
        return Err(Fault::Value);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok((*bytes != [0; 32]).then_some(bytes))
}

fn digit(byte: u8) -> Result<u8, Fault> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(Fault::Value),
    }
}

/// An address and a port. `wg` names the interface of a link-local address: `[fe80::1%eth0]:51820`.
fn endpoint(value: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    let (ip, rest) = value.strip_prefix('[').and_then(|value| value.split_once('%')).ok_or(Fault::Value)?;
    let (interface, port) = rest.split_once("]:").ok_or(Fault::Value)?;
    let scope = index_of(interface).map_err(|_| Fault::Value)?;
    let ip = ip.parse().map_err(|_| Fault::Value)?;
    Ok(SocketAddrV6::new(ip, number(port)?, 0, scope).into())
}

/// A prefix; what is behind it is cut off, as kernel WireGuard does it.
fn cidr(value: &str) -> Result<Cidr, Fault> {
    let net = match value.parse::<IpNet>() {
        Ok(net) => net.trunc(),
        Err(_) => value.parse::<IpAddr>().map_err(|_| Fault::Value)?.into(),
    };
    Cidr::new(net).map_err(|_| Fault::Value)
}

#[cfg(test)]
mod tests;
