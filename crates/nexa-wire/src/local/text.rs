//! The same for people.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::SecondsFormat;
use nexa_types::Protocol;

use super::{
    Difference, Exclusion, Explained, Flow, MapDrift, NearMiss, PeerDrop, PeerName, PeerStatus, Phase, Query,
    Status, Verified, Word,
};
use crate::drops::Route;

impl Status {
    /// As text in the manner of `wg show`, seen at a time.
    pub fn at(&self, now: SystemTime) -> impl Display {
        StatusAt { status: self, now }
    }
}

struct StatusAt<'a> {
    status: &'a Status,
    now: SystemTime,
}

impl Display for StatusAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        writeln!(f, "interface: {}", status.interface)?;
        writeln!(f, "  public key: {}", status.public_key)?;
        if let Some(port) = status.listen_port {
            writeln!(f, "  listening port: {port}")?;
        }
        match (status.revision, &status.hash) {
            (Some(revision), Some(hash)) => writeln!(f, "  snapshot: revision {revision}, {hash}")?,
            _ => writeln!(f, "  snapshot: none yet, so everything is refused")?,
        }
        if let Some(age) = status.age_seconds {
            writeln!(f, "  confirmed: {} ago", span(age))?;
        }
        let connected = if status.connected { "connected" } else { "not connected" };
        writeln!(f, "  control plane: {connected}")?;
        write!(f, "  kernel: generation {}", status.generation)?;
        match status.drift_entries {
            None => writeln!(f, ", not verified yet")?,
            Some(0) => writeln!(f, ", verified")?,
            Some(drift) => writeln!(f, ", {} not as intended", count(drift, "entry", "entries"))?,
        }
        writeln!(f, "  version: {}", status.version)?;
        status.peers.iter().try_for_each(|peer| self.peer(peer, f))
    }
}

impl StatusAt<'_> {
    fn peer(&self, peer: &PeerStatus, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\npeer: {}", peer.peer)?;
        writeln!(f, "  device: {}", peer.peer.device)?;
        writeln!(f, "  public key: {}", peer.public_key)?;
        if let Some(endpoint) = peer.endpoint {
            writeln!(f, "  endpoint: {endpoint}")?;
        }
        let [v4, v6] = peer.addresses;
        writeln!(f, "  allowed ips: {v4}/32, {v6}/128")?;
        if let Some(unix) = peer.last_handshake_unix {
            let at = UNIX_EPOCH + Duration::from_secs(unix);
            let ago = self.now.duration_since(at).unwrap_or_default();
            writeln!(f, "  latest handshake: {} ago", span(ago.as_secs()))?;
        }
        if peer.received_bytes > 0 || peer.sent_bytes > 0 {
            let (received, sent) = (bytes(peer.received_bytes), bytes(peer.sent_bytes));
            writeln!(f, "  transfer: {received} received, {sent} sent")?;
        }
        Ok(())
    }
}

impl Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.owner)
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol, self.port) {
            (Protocol::Number(number), _) => write!(f, "protocol {number}")?,
            (protocol, None) => write!(f, "{protocol}")?,
            (protocol, Some(port)) => write!(f, "{protocol} {port}")?,
        }
        write!(f, " of {}", self.destination)
    }
}

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow { rule } if rule.0 == 0 => f.write_str("allowed without a rule, as to every device"),
            Self::Allow { rule } => write!(f, "allowed by rule {rule}"),
            Self::Deny { rule } => write!(f, "refused by rule {rule}"),
            Self::NoRule => f.write_str("refused, because no rule speaks of it"),
            Self::Excluded { what } => write!(f, "refused, because no range of a resource covers {what}"),
            Self::Drop { reason } => write!(f, "dropped before any rule is asked: {reason}"),
        }
    }
}

impl Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TunnelPool => "devices; a rule has to name them",
            Self::Gateway => "the gateway's own addresses",
            Self::Unspecified => "unspecified addresses",
            Self::Loopback => "loopback addresses",
            Self::LinkLocal => "link-local addresses",
            Self::Metadata => "a cloud's metadata service",
            Self::Multicast => "multicast addresses",
            Self::Reserved => "reserved addresses",
            Self::MappedV4 => "IPv4 addresses written as IPv6",
        })
    }
}

impl NearMiss {
    /// In a sentence, for who asked.
    pub fn sentence(&self, query: &Query) -> String {
        let rule = self.rule;
        match &self.differs {
            Difference::Time { next: Some(next) } => {
                format!(
                    "rule {rule} allows it, but not now: next from {}",
                    next.format("%Y-%m-%d %H:%M:%S UTC")
                )
            }
            Difference::Time { next: None } => format!("rule {rule} allowed it, but its time is over"),
            Difference::Port { allowed } => {
                let used = query.port.map(|port| port.to_string()).unwrap_or_default();
                format!("rule {rule} allows {}, you used {used}", list(allowed))
            }
            Difference::Protocol { allowed } => {
                format!("rule {rule} allows {}, you used {}", list(allowed), query.protocol)
            }
            Difference::Subject => format!("rule {rule} allows it, but not to this device"),
            Difference::Destination => {
                format!("rule {rule} allows the same, but not to {}", query.destination)
            }
        }
    }
}

impl Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} to {}: {}", self.peer, self.query, self.policy)?;
        if let Some(nearest) = &self.nearest {
            writeln!(f, "  nearest: {}", nearest.sentence(&self.query))?;
        }
        writeln!(f, "  policy: revision {}, generation {}", self.revision, self.generation)?;
        if self.agrees() {
            return writeln!(f, "  kernel: the same");
        }
        writeln!(f, "  kernel: {}", self.kernel)?;
        match self.kernel {
            Word::Drop { .. } => Ok(()),
            _ => writeln!(f, "  The kernel's maps are not what they should be: run `nexa-gateway verify`."),
        }
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, source_port, destination, destination_port, protocol } = self;
        match protocol {
            1 | 58 => write!(f, "icmp {source} to {destination}"),
            6 => write!(f, "tcp {source} port {source_port} to {destination} port {destination_port}"),
            17 => write!(f, "udp {source} port {source_port} to {destination} port {destination_port}"),
            number => write!(f, "protocol {number} {source} to {destination}"),
        }
    }
}

impl Display for PeerDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, dropped } = self;
        write!(f, "{} ", dropped.last_at.to_rfc3339_opts(SecondsFormat::Secs, true))?;
        match peer {
            Some(peer) => write!(f, "{peer}: ")?,
            None => write!(f, "no device: ")?,
        }
        match &dropped.route {
            Some(route) => write!(f, "{route}, ")?,
            None => write!(f, "unreadable, ")?,
        }
        match (dropped.rule, dropped.excluded, dropped.reason.as_str()) {
            (Some(rule), ..) => write!(f, "{}", Word::Deny { rule })?,
            (None, Some(what), _) => write!(f, "{}", Word::Excluded { what })?,
            (None, None, "no_rule") => write!(f, "{}", Word::NoRule)?,
            (None, None, reason) => write!(f, "dropped: {reason}")?,
        }
        if let Some(nearest) = dropped.nearest_sentence() {
            write!(f, "; {nearest}")?;
        }
        let packets = count(dropped.packets, "packet", "packets");
        write!(f, " ({packets}, generation {})", dropped.generation)
    }
}

impl Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { source, source_port, destination, destination_port, protocol, .. } = self;
        let route = Route { source, source_port, destination, destination_port, protocol };
        write!(f, "{}: {route}", self.peer)?;
        let phase = match self.phase {
            Phase::New => "new",
            Phase::Answered => "answered",
            Phase::Closing => "closing",
        };
        let word = Word::Allow { rule: self.rule };
        write!(f, ", {phase}, {word}, last heard {} ago", span(self.idle_seconds))
    }
}

impl Display for MapDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, equal, missing, extra, different } = self;
        write!(f, "{map}: {equal} equal, {missing} missing, {extra} extra, {different} different")
    }
}

impl Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "generation {}", self.generation)?;
        for map in &self.maps {
            writeln!(f, "  {map}")?;
        }
        writeln!(f, "  intended: {}", self.intended_hash)?;
        writeln!(f, "  found:    {}", self.found_hash)?;
        if self.drift() == 0 {
            return writeln!(f, "The kernel's maps hold what they should.");
        }
        let entries = count(self.drift(), "entry is", "entries are");
        match self.repaired {
            Some(generation) => {
                writeln!(f, "{entries} not as intended; generation {generation} was written over it.")
            }
            None => {
                writeln!(f, "{entries} not as intended, and could not be written anew: see the daemon's log.")
            }
        }
    }
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The two largest units, as `wg` has them.
fn span(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "day", "days"),
        (seconds / 3600 % 24, "hour", "hours"),
        (seconds / 60 % 60, "minute", "minutes"),
        (seconds % 60, "second", "seconds"),
    ];
    let said: Vec<String> = units
        .into_iter()
        .skip_while(|(number, ..)| *number == 0)
        .take(2)
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, many)| count(number, one, many))
        .collect();
    if said.is_empty() { "0 seconds".to_owned() } else { said.join(", ") }
}

fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    // 1024 to the power of the unit's position.
    let position = (bytes.max(1).ilog2() / 10).min(4);
    match position {
        0 => format!("{bytes} B"),
        position => {
            format!("{:.2} {}", bytes as f64 / (1_u64 << (position * 10)) as f64, units[position as usize])
        }
    }
}
