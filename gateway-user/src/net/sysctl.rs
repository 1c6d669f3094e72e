//! Kernel settings that a gateway needs, with what they were before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::InterfaceName;
use crate::files;

/// Why a setting could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The kernel or the file system refused.
    #[error("cannot set {key} to {value}: {source}; set it yourself with `sysctl -w {key}={value}`")]
    Refused {
        /// As `sysctl` names it.
        key: String,
        /// What it has to be.
        value: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The earlier values could not be noted.
    #[error("cannot note the host's earlier settings in {path}: {source}")]
    Note {
        /// The file for them.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Settings of the whole host (or network namespace), noted in the state folder before their first change, so
/// that they can be put back when the gateway is removed.
#[derive(Debug)]
pub struct HostSettings {
    note: PathBuf,
}

impl HostSettings {
    /// Keeps the earlier values in `state_dir`, which exists.
    pub fn new(state_dir: &Path) -> Self {
        Self { note: state_dir.join("host-settings.json") }
    }

    /// Turns forwarding on, redirects and source routes off; `max_flows` is how many connections the host should track.
    ///
    /// # Errors
    /// [`SysctlError`].
    pub fn apply(&self, uplink: Option<&InterfaceName>, max_flows: u32) -> Result<(), SysctlError> {
        let mut wanted: Vec<(String, &'static str)> = Vec::new();
        // A forwarding host ignores router advertisements at 1: without this its own default route expires.
        if let Some(uplink) = uplink {
            let key = format!("net/ipv6/conf/{uplink}/accept_ra");
            if read(&key).is_some_and(|value| value == "1") {
                wanted.push((key, "2"));
            }
        }
        // Forwarding first: switching it resets some of the others to a router's defaults.
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/accept_redirects", "0"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/all/accept_source_route", "0"),
            ("net/ipv6/conf/all/accept_redirects", "0"),
            ("net/ipv6/conf/all/accept_source_route", "0"),
        ] {
            wanted.push((key.to_owned(), value));
        }
        self.note_first_values(&wanted)?;
        wanted.iter().try_for_each(|(key, value)| set(key, value))?;
        warn_of_small_conntrack(max_flows);
        Ok(())
    }

    /// The earlier values, by the path below /proc/sys.
    pub fn noted(&self) -> BTreeMap<String, String> {
        fs::read(&self.note).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn note_first_values(&self, wanted: &[(String, &'static str)]) -> Result<(), SysctlError> {
        let mut noted = self.noted();
        let before = noted.len();
        for (key, value) in wanted {
            if let Some(current) = read(key).filter(|current| current != value) {
                noted.entry(key.clone()).or_insert(current);
            }
        }
        if noted.len() == before {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&noted).map_err(io::Error::from);
        let written = text.and_then(|text| files::write_atomic(&self.note, &text));
        written.map_err(|source| SysctlError::Note { path: self.note.clone(), source })
    }
}

/// Settings of the tunnel's own interface, before it is put up. They vanish with it.
///
/// # Errors
/// [`SysctlError::Refused`].
pub fn prepare_interface(interface: &InterfaceName) -> Result<(), SysctlError> {
    for (setting, value) in [
        // 1 is IN6_ADDR_GEN_MODE_NONE: no link-local address.
        ("ipv6/conf/{}/addr_gen_mode", "1"),
        ("ipv6/conf/{}/accept_ra", "0"),
        ("ipv6/conf/{}/accept_redirects", "0"),
        ("ipv4/conf/{}/accept_redirects", "0"),
        ("ipv4/conf/{}/send_redirects", "0"),
        ("ipv4/conf/{}/accept_source_route", "0"),
    ] {
        set(&format!("net/{}", setting.replace("{}", interface.as_str())), value)?;
    }
    Ok(())
}

/// Every flow that the programs remember is a connection of netfilter's too; it drops new ones when it is full.
fn warn_of_small_conntrack(wanted: u32) {
    let limit = read("net/netfilter/nf_conntrack_max").and_then(|limit| limit.parse::<u32>().ok());
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        tracing::warn!(
            "the host tracks {limit} connections, fewer than the {wanted} flows of the programs; raise it with \
             `sysctl -w net.netfilter.nf_conntrack_max={wanted}`"
        );
    }
}

fn read(key: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(key)).ok().map(|value| value.trim().to_owned())
}

fn set(key: &str, value: &'static str) -> Result<(), SysctlError> {
    let refused = |source| {
        // In `sysctl`'s own notation the dots of an interface's name become slashes.
        let key = key.replace('.', "\u{0}").replace('/', ".").replace('\u{0}', "/");
        SysctlError::Refused { key, value, source }
    };
    match read(key) {
        // Where /proc/sys is read-only, an administrator may have set everything right beforehand.
        Some(current) if current == value => Ok(()),
        Some(_) => fs::write(Path::new("/proc/sys").join(key), value).map_err(refused),
        // A kernel without IPv6 forwards none.
        None if key.starts_with("net/ipv6") && !Path::new("/proc/sys/net/ipv6").exists() => Ok(()),
        None => Err(refused(io::ErrorKind::NotFound.into())),
    }
}
