//! The wg-quick file that a client downloads: read strictly, completed with the client's own key.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};

use crate::names::Pair;

/// What stands for the key that the control plane never sees.
pub const PLACEHOLDER: &str = "REPLACE_WITH_YOUR_PRIVATE_KEY";

/// A wg-quick file with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    text: String,
    /// The client's addresses inside the tunnel.
    pub address: Pair,
    /// Largest packet inside the tunnel, bytes.
    pub mtu: Option<u16>,
    /// The gateway's key.
    pub peer: String,
    /// Where the gateway is reached.
    pub endpoint: String,
    /// What is sent into the tunnel.
    pub allowed_ips: Vec<String>,
}

impl Profile {
    /// Reads a file. Lines that wg-quick would run as commands, and names it does not know, are refused.
    ///
    /// # Errors
    /// When it is no such file, or its private key is anything but the placeholder.
    pub fn parse(text: &str) -> Result<Self> {
        let mut section = "";
        let (mut addresses, mut allowed_ips) = (Vec::new(), Vec::new());
        let (mut mtu, mut peer, mut endpoint, mut key) = (None, None, None, None);
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if line.is_empty() {
                continue;
            }
            if line.starts_with('[') {
                if section == "[Peer]" {
                    bail!("more than one peer");
                }
                section = line;
                continue;
            }
            let (name, value) =
                line.split_once('=').with_context(|| format!("neither section nor value: {line}"))?;
            let value = value.trim();
            match (section, name.trim()) {
                ("[Interface]", "Address") => addresses.extend(list(value)),
                ("[Interface]", "PrivateKey") => once(&mut key, name, value)?,
                ("[Interface]", "MTU") => once(&mut mtu, name, value.parse().context("bad MTU")?)?,
                ("[Interface]", "DNS") | ("[Peer]", "PersistentKeepalive") => {}
                ("[Peer]", "PublicKey") => once(&mut peer, name, value.to_owned())?,
                ("[Peer]", "Endpoint") => once(&mut endpoint, name, value.to_owned())?,
                ("[Peer]", "AllowedIPs") => allowed_ips.extend(list(value)),
                (section, name) => bail!("`{name}` in `{section}` is not expected"),
            }
        }
        if key != Some(PLACEHOLDER) || text.matches(PLACEHOLDER).count() != 1 {
            bail!("the private key is not the placeholder, exactly once");
        }
        Ok(Self {
            text: text.to_owned(),
            address: address(&addresses)?,
            mtu,
            peer: peer.context("no PublicKey")?,
            endpoint: endpoint.context("no Endpoint")?,
            allowed_ips,
        })
    }

    /// The file with a key in it.
    pub fn complete(&self, private_key: &str) -> String {
        self.text.replace(PLACEHOLDER, private_key)
    }
}

fn list(value: &str) -> impl Iterator<Item = String> {
    value.split(',').map(|item| item.trim().to_owned())
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        bail!("`{}` is there twice", name.trim());
    }
    Ok(())
}

/// Exactly one IPv4 and one IPv6 address, each alone.
fn address(addresses: &[String]) -> Result<Pair> {
    let alone =
        |suffix: &'static str| addresses.iter().filter_map(move |address| address.strip_suffix(suffix));
    let v4: Vec<Ipv4Addr> = alone("/32").flat_map(str::parse).collect();
    let v6: Vec<Ipv6Addr> = alone("/128").flat_map(str::parse).collect();
    match (&v4[..], &v6[..], addresses.len()) {
        ([v4], [v6], 2) => Ok(Pair { v4: *v4, v6: *v6 }),
        _ => bail!("the addresses are not one /32 and one /128: {addresses:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Profile;

    const TEXT: &str = "# laptop\n[Interface]\nPrivateKey = REPLACE_WITH_YOUR_PRIVATE_KEY\n\
        Address = 100.96.0.2/32, fd6e:7861::2/128\nMTU = 1420\n\n[Peer]\n# gw1\nPublicKey = abc=\n\
        AllowedIPs = 10.20.0.10/32, fd20::10/128\nEndpoint = 10.99.0.10:51900\n";

    #[test]
    fn a_profile_is_read_and_completed() {
        let profile = Profile::parse(TEXT).expect("read");
        assert_eq!(profile.address.v4.to_string(), "100.96.0.2");
        assert_eq!((profile.peer.as_str(), profile.mtu), ("abc=", Some(1420)));
        assert_eq!(profile.allowed_ips, ["10.20.0.10/32", "fd20::10/128"]);
        assert!(profile.complete("SECRET").contains("PrivateKey = SECRET\n"));
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            TEXT.replace("REPLACE_WITH_YOUR_PRIVATE_KEY", "aKey="),
            TEXT.replace("# laptop", "# REPLACE_WITH_YOUR_PRIVATE_KEY"),
            TEXT.replace("MTU = 1420", "PostUp = rm -rf /"),
            TEXT.replace(", fd6e:7861::2/128", ""),
            TEXT.replace("/32, fd6e", "/24, fd6e"),
            TEXT.replace("Endpoint", "Endpiont"),
            format!("{TEXT}[Peer]\nPublicKey = other=\n"),
            TEXT.replace("MTU = 1420", "MTU 1420"),
        ];
        for text in bad {
            assert!(Profile::parse(&text).is_err(), "{text}");
        }
    }
}
