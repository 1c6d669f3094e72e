//! From the gateway's parts to metric families.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use nexa_abi::layout::RuleCounters;
use nexa_types::{DeviceId, PublicKey};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts};

use super::wireguard;
use crate::config::{InterfaceName, Series, Switch};
use crate::dataplane::{Counters, Dataplane, RuleName};
use crate::events::{Board, Counts};
use crate::gateway::lock;
use crate::reports::last_handshake_unix;
use crate::status::{PeerName, Status};
use crate::stream::Cause;
use crate::tunnel::Tunnel;
use crate::xdp_guard::{self, Counted, Mode};

/// Reads the programs' counters, the engine and the daemon's status when asked.
pub struct GatewayCollector {
    dataplane: Arc<Mutex<Dataplane>>,
    tunnel: Arc<Mutex<Tunnel>>,
    xdp_guard: xdp_guard::Shared,
    status: Arc<Status>,
    board: Arc<Board>,
    series: Series,
    interface: InterfaceName,
}

impl GatewayCollector {
    /// Reads from these, and tells what `series` says.
    pub const fn new(
        dataplane: Arc<Mutex<Dataplane>>,
        tunnel: Arc<Mutex<Tunnel>>,
        xdp_guard: xdp_guard::Shared,
        status: Arc<Status>,
        board: Arc<Board>,
        series: Series,
        interface: InterfaceName,
    ) -> Self {
        Self { dataplane, tunnel, xdp_guard, status, board, series, interface }
    }
}

impl Collector for GatewayCollector {
    /// Every family is made anew for each scrape, so there is none to describe ahead of it.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        self.daemon(&mut families);
        self.uplink(&mut families);
        self.events(&mut families);
        match lock(&self.dataplane).memory() {
            Ok(memory) => {
                let help = "Bytes of kernel memory that a BPF map takes.";
                let bytes = memory.iter().map(|memory| (vec![memory.map.to_owned()], memory.bytes as f64));
                families.gauge("nexavpn_map_memory_bytes", help, &["map"], bytes);
            }
            Err(error) => tracing::warn!("what memory the maps take cannot be read: {error:#}"),
        }
        // Reading takes a while; nobody waits for the lock meanwhile.
        let census = lock(&self.dataplane).census();
        match census.read() {
            Ok(counters) => self.programs(&counters, &mut families),
            // Absent series alarm; zeroes would look like a quiet network.
            Err(error) => tracing::warn!("the programs' counters cannot be read: {error:#}"),
        }
        families.collected
    }
}

impl GatewayCollector {
    fn daemon(&self, families: &mut Families) {
        let status = &self.status;
        families.gauge(
            "nexavpn_build_info",
            "Which program this is.",
            &["version"],
            [(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)],
        );
        let connected = f64::from(u8::from(status.is_connected()));
        families.gauge(
            "nexavpn_control_connected",
            "Whether the control plane's stream is up.",
            &[],
            [(vec![], connected)],
        );
        let repairs = "How often somebody removed or changed the nft guard and it was put back.";
        families.counter("nexavpn_guard_repairs_total", repairs, &[], [(vec![], status.guard_repairs())]);
        let refused = "Snapshots that were refused as a whole.";
        let by_cause = Cause::ALL.map(|cause| (vec![cause.as_str().to_owned()], status.refusals(cause)));
        families.counter("nexavpn_snapshots_refused_total", refused, &["cause"], by_cause);
        let help = "Policies that were refused because the kernel's maps had no room for them. What they take away is \
                    taken away all the same.";
        let overflows = status.refusals(Cause::Overflow);
        families.counter("nexavpn_policy_overflows_total", help, &[], [(vec![], overflows)]);
        let outdated = "Snapshots that were passed over because a newer one was in force.";
        families.counter("nexavpn_snapshots_outdated_total", outdated, &[], [(vec![], status.outdated())]);
        let stored = "Whether the snapshot in force is on disk, for a restart without the control plane.";
        families.gauge(
            "nexavpn_snapshot_stored",
            stored,
            &[],
            [(vec![], f64::from(u8::from(status.is_stored())))],
        );
        let drift = status.drift_entries().map(|entries| (vec![], entries as f64));
        let help =
            "Entries of the kernel's maps that the last comparison with the policy in force found different.";
        families.gauge("nexavpn_policy_drift_entries", help, &[], drift);
        let help = "How often somebody changed the kernel's maps and the policy was written anew.";
        families.counter("nexavpn_policy_repairs_total", help, &[], [(vec![], status.policy_repairs())]);
        let help = "How often somebody removed pins of the programs or maps and they were pinned again.";
        families.counter("nexavpn_pin_repairs_total", help, &[], [(vec![], status.pin_repairs())]);
        let Some(applied) = status.applied() else { return };
        let revision = applied.revision.0 as f64;
        families.gauge("nexavpn_applied_revision", "The snapshot in force.", &[], [(vec![], revision)]);
        let age = status.snapshot_age_seconds().map(|age| (vec![], age as f64));
        let help = "Seconds since the control plane last confirmed the snapshot in force.";
        families.gauge("nexavpn_snapshot_age_seconds", help, &[], age);
        let statuses = lock(&self.tunnel).peers();
        if self.series.wireguard_metrics == Switch::On {
            wireguard::families(&self.interface, &statuses, &applied.peers, families);
        }
        if !self.series.peer_metrics.cover(applied.peers.len()) {
            return;
        }
        let handshakes = statuses.iter().filter_map(|status| {
            let name = applied.peers.get(&status.public_key)?;
            Some((labels(name), last_handshake_unix(status)? as f64))
        });
        let help = "When the peer's last handshake was completed, seconds since 1970.";
        families.gauge("nexavpn_peer_last_handshake_seconds", help, &["peer", "name"], handshakes);
    }

    /// What the programs told.
    fn events(&self, families: &mut Families) {
        let Counts { drops, flows, untold, missed, unexplained } = self.board.counts();
        let help = "Events that the programs told: drops, and flows that began.";
        let told = [("drop", drops), ("flow", flows)].map(|(kind, count)| (vec![kind.to_owned()], count));
        families.counter("nexavpn_events_total", help, &["event"], told);
        let help =
            "Events that the programs did not tell one by one, because there were too many of a device.";
        families.counter("nexavpn_events_untold_total", help, &[], [(vec![], untold)]);
        let help = "Drops that are not among the events because the daemon had no room for their kind.";
        families.counter("nexavpn_events_missed_total", help, &[], [(vec![], missed)]);
        let help =
            "Kinds of refusals for which nobody looked which rule came closest, because there were too many.";
        families.counter("nexavpn_events_unexplained_total", help, &[], [(vec![], unexplained)]);
    }

    /// The guard on the uplink.
    fn uplink(&self, families: &mut Families) {
        let guard = lock(&self.xdp_guard);
        let help = "How the XDP guard on the uplink is attached: native, generic or off.";
        let mode = guard.mode().map_or("off", Mode::as_str).to_owned();
        families.gauge("nexavpn_xdp_mode", help, &["mode"], [(vec![mode], 1.0)]);
        let help = "Whether the XDP guard refuses messages to receivers that nobody is.";
        let checks = f64::from(u8::from(guard.checks_receivers()));
        families.gauge("nexavpn_xdp_receivers_checked", help, &[], [(vec![], checks)]);
        let help = "How often the XDP guard's maps could not be written; it judges less from then on.";
        families.counter("nexavpn_xdp_failures_total", help, &[], [(vec![], guard.failures())]);
        match guard.counted() {
            Ok(Some(Counted { passed, dropped })) => {
                let help =
                    "Datagrams for the tunnel's port that the XDP guard let through, since it was attached.";
                families.counter("nexavpn_xdp_passed_total", help, &[], [(vec![], passed)]);
                let help =
                    "Datagrams for the tunnel's port that the XDP guard dropped, since it was attached.";
                let dropped = dropped.into_iter().map(|(reason, count)| (vec![reason.to_owned()], count));
                families.counter("nexavpn_xdp_dropped_total", help, &["reason"], dropped);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("the XDP guard's counters cannot be read: {error:#}"),
        }
    }

    fn programs(&self, counters: &Counters, families: &mut Families) {
        let generation = counters.generation.0 as f64;
        families.gauge(
            "nexavpn_generation",
            "The policy generation in the kernel.",
            &[],
            [(vec![], generation)],
        );
        let drops = counters
            .drops
            .iter()
            .map(|drops| (vec![drops.reason.to_owned(), drops.direction.to_owned()], drops.packets));
        let help = "Packets that the programs dropped; ingress is from devices.";
        families.counter("nexavpn_drops_total", help, &["reason", "direction"], drops);
        self.rules(counters, families);
        if !self.series.peer_metrics.cover(counters.peers.len()) {
            return;
        }
        let applied = self.status.applied();
        let names = by_device(applied.as_ref().map(|applied| &*applied.peers));
        let named: Vec<_> =
            counters.peers.iter().filter_map(|peer| Some((peer, labels(names.get(&peer.device)?)))).collect();
        type Read = fn(&crate::dataplane::PeerCounters) -> u64;
        let each: [(&str, &str, Read); 4] = [
            ("nexavpn_peer_received_bytes_total", "Inner bytes from the device.", |peer| peer.received_bytes),
            ("nexavpn_peer_received_packets_total", "Inner packets from the device.", |peer| {
                peer.received_packets
            }),
            ("nexavpn_peer_sent_bytes_total", "Inner bytes to the device.", |peer| peer.sent_bytes),
            ("nexavpn_peer_sent_packets_total", "Inner packets to the device.", |peer| peer.sent_packets),
        ];
        for (name, help, read) in each {
            let series = named.iter().map(|(peer, labels)| (labels.clone(), read(peer)));
            families.counter(name, help, &["peer", "name"], series);
        }
        let drops = named.iter().flat_map(|(peer, labels)| {
            peer.drops.iter().map(|(reason, packets)| {
                (labels.iter().cloned().chain([(*reason).to_owned()]).collect(), *packets)
            })
        });
        let help = "Packets of the device that the programs dropped.";
        families.counter("nexavpn_peer_drops_total", help, &["peer", "name", "reason"], drops);
    }
}

impl GatewayCollector {
    /// What no rule speaks of is told always: it is one rule, whatever the policy.
    fn rules(&self, counters: &Counters, families: &mut Families) {
        let told = || {
            counters
                .rules
                .iter()
                .filter(|(rule, _)| self.series.rule_metrics == Switch::On || *rule == RuleName::DefaultDeny)
        };
        let values = |allowed: fn(&RuleCounters) -> u64, denied: fn(&RuleCounters) -> u64| {
            told().flat_map(move |(rule, counted)| {
                [("allow", allowed(counted)), ("deny", denied(counted))]
                    // A rule only ever does one of them; a change of its effect is a new rule in its place.
                    .into_iter()
                    .filter(|(verdict, count)| {
                        *count > 0 || (*rule == RuleName::DefaultDeny && *verdict == "deny")
                    })
                    .map(|(verdict, count)| (vec![rule.to_string(), verdict.to_owned()], count))
            })
        };
        let help =
            "Packets that a rule decided on, in both directions; default_deny is what no rule speaks of.";
        let packets = values(|counted| counted.allowed_packets, |counted| counted.denied_packets);
        families.counter("nexavpn_rule_packets_total", help, &["rule", "verdict"], packets);
        let help = "Bytes of IP that a rule decided on, in both directions.";
        let bytes = values(|counted| counted.allowed_bytes, |counted| counted.denied_bytes);
        families.counter("nexavpn_rule_bytes_total", help, &["rule", "verdict"], bytes);
    }
}

fn by_device(peers: Option<&HashMap<PublicKey, PeerName>>) -> HashMap<DeviceId, &PeerName> {
    peers.into_iter().flat_map(HashMap::values).map(|name| (name.device, name)).collect()
}

fn labels(name: &PeerName) -> Vec<String> {
    vec![name.device.to_string(), name.name.clone()]
}

/// Families, each made anew.
#[derive(Default)]
pub(super) struct Families {
    collected: Vec<MetricFamily>,
}

impl Families {
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<String>, f64)>,
    ) {
        let family = GaugeVec::new(Opts::new(name, help), labels).expect("names here are metric names");
        for (of, value) in values {
            family.with_label_values(&of).set(value);
        }
        self.collected.extend(family.collect());
    }

    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<String>, u64)>,
    ) {
        let family = CounterVec::new(Opts::new(name, help), labels).expect("names here are metric names");
        for (of, value) in values {
            // Whole up to 2^53, which is 9 PB.
            family.with_label_values(&of).inc_by(value as f64);
        }
        self.collected.extend(family.collect());
    }
}
