//! What policy costs each packet, beside nftables; what a change of it costs.

use anyhow::Result;
use nexa_lab::ledger::Ledger;

use super::{Bench, Setting};
use crate::{
    goal::{
        Figure::{Max, Median, P99},
        Goal,
        Limit::{AtLeast, AtMost},
    },
    interleave::{self, Case, Series},
    ledger::with_ledger,
    ratio::{self, Ratio},
};
use bed::Bed;
use cases::Measured;

mod arm;
mod bed;
mod cases;
mod change;
mod conntrack;
mod entries;
pub(super) mod frame;
mod guard;
pub(super) mod inject;
mod nft;
mod place;
mod sender;
mod tunnel;
mod whole;
mod world;

pub(super) const BENCH: Bench = Bench { name: "policy", run, goals: &GOALS };

const GOALS: [Goal; 15] = [
    Goal { of: "live_ratio", figure: Median, limit: AtMost(0.25) },
    Goal { of: "live_growth", figure: Median, limit: AtMost(1.1) },
    Goal { of: "class_2k_ratio", figure: Median, limit: AtMost(0.8) },
    Goal { of: "class_20k_ratio", figure: Median, limit: AtMost(0.8) },
    Goal { of: "class_linear_ratio", figure: Median, limit: AtMost(0.05) },
    Goal { of: "class_growth", figure: Median, limit: AtMost(2.0) },
    Goal { of: "new_2k_ratio", figure: Median, limit: AtMost(1.0) },
    Goal { of: "new_20k_ratio", figure: Median, limit: AtMost(1.0) },
    Goal { of: "change_ms", figure: P99, limit: AtMost(5.0) },
    Goal { of: "apply_ratio", figure: Median, limit: AtMost(0.5) },
    Goal { of: "maps_mb", figure: Max, limit: AtMost(MAPS_MB) },
    Goal { of: "tunnel_tcp_ratio", figure: Median, limit: AtLeast(0.98) },
    Goal { of: "tunnel_udp_ratio", figure: Median, limit: AtLeast(0.9) },
    Goal { of: "guard_malformed_ratio", figure: Median, limit: AtMost(0.35) },
    Goal { of: "guard_unknown_ratio", figure: Median, limit: AtMost(0.5) },
];

/// Kernel memory that all maps may take together at 10,000 peers, of which most is set aside at the start.
const MAPS_MB: f64 = 200.0;

const RATIOS: [Ratio; 13] = [
    ("live_ratio", "live_ours_2k_ns", &["live_conntrack_ns"], "a live flow's packet: ours by conntrack's"),
    ("live_growth", "live_ours_100k_ns", &["live_ours_2k_ns"], "a live flow's packet: 100k rules by 2k"),
    (
        "class_2k_ratio",
        "class_ours_2k_ns",
        &["class_nft_map_2k_ns", "class_nft_proto_2k_ns"],
        "a packet of no flow, 2k rules: ours by nftables' best stateless",
    ),
    (
        "class_20k_ratio",
        "class_ours_20k_ns",
        &["class_nft_map_20k_ns", "class_nft_proto_20k_ns"],
        "the same with 20k rules",
    ),
    (
        "class_linear_ratio",
        "class_ours_2k_ns",
        &["class_nft_linear_2k_ns"],
        "the same: ours by one rule after the other",
    ),
    ("class_growth", "class_ours_100k_ns", &["class_ours_2k_ns"], "a packet of no flow: 100k rules by 2k"),
    (
        "new_2k_ratio",
        "new_ours_2k_ns",
        &["new_conntrack_2k_ns"],
        "a flow's first packet, 2k rules: ours by conntrack's",
    ),
    ("new_20k_ratio", "new_ours_20k_ns", &["new_conntrack_20k_ns"], "the same with 20k rules"),
    ("apply_ratio", "apply_ours_ms", &["apply_nft_ms"], "a whole policy: ours by `nft -f`"),
    (
        "tunnel_tcp_ratio",
        "tunnel_tcp_ours_gbit_per_s",
        &["tunnel_tcp_pass_gbit_per_s"],
        "iperf3 through the tunnel: with policy by without",
    ),
    (
        "tunnel_udp_ratio",
        "tunnel_udp_ours_per_s",
        &["tunnel_udp_pass_per_s"],
        "small datagrams through the tunnel: with policy by without",
    ),
    (
        "guard_malformed_ratio",
        "guard_malformed_ns",
        &["guard_tc_drop_ns"],
        "junk by its form: the guard by TC",
    ),
    (
        "guard_unknown_ratio",
        "guard_unknown_ns",
        &["guard_tc_drop_ns"],
        "junk by its receiver: the guard by TC",
    ),
];

fn run(setting: &Setting<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    with_ledger(setting.folder, say, |ledger, say| measure(setting, ledger, say))
}

fn measure(setting: &Setting<'_>, ledger: &Ledger, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    let wanted: Vec<Measured> = cases::ALL.into_iter().filter(|case| setting.wants(case.name)).collect();
    let needed: Vec<Measured> = cases::ALL
        .into_iter()
        .filter(|case| {
            let is_under = |wanted: &Measured| case.is_floor() && wanted.floor() == case.by;
            setting.wants(case.name) || wanted.iter().any(is_under)
        })
        .collect();
    let mut bed = Bed::new(setting.folder.prefix(), ledger);
    let cases: Vec<_> = needed
        .iter()
        .map(|case| Case { metric: case.metric(), run: move |bed: &mut Bed<'_>, _: usize| case.run(bed) })
        .collect();
    for case in &needed {
        say(&format!("preparing {}", case.name));
        bed.arm(case.by, case.effect())?;
    }
    let series = interleave::run(&mut bed, &cases, setting.rounds, say)?;
    let mut results = cases::above_floors(&needed, &series)?;
    if guard::names().any(|name| setting.wants(name)) {
        say("the XDP guard");
        results.extend(guard::measure(&bed, setting.rounds, say)?);
    }
    if whole::names().any(|name| setting.wants(name)) {
        say("whole policies");
        results.extend(whole::measure(&bed, setting.rounds, say)?);
    }
    if change::names().any(|name| setting.wants(name)) {
        say("changes under load");
        results.extend(change::measure(&bed, setting.rounds, |name| setting.wants(name), say)?);
    }
    if tunnel::names().any(|name| setting.wants(name)) {
        say("tunnels");
        results.extend(tunnel::measure(&bed, setting.rounds, say)?);
    }
    let ratios = ratio::of(&RATIOS, &results)?;
    results.extend(ratios);
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::{GOALS, RATIOS, cases, change, guard, tunnel, whole};

    #[test]
    fn every_ratio_and_every_goal_is_of_what_is_measured() {
        let is_case = |name: &str| {
            let others = guard::names().chain(whole::names()).chain(tunnel::names()).chain(change::names());
            cases::ALL.iter().map(|case| case.name).chain(others).any(|case| case == name)
        };
        for (name, dividend, divisors, _) in RATIOS {
            assert!(is_case(dividend) && divisors.iter().all(|divisor| is_case(divisor)), "{name}");
        }
        for goal in GOALS {
            let is_ratio = RATIOS.iter().any(|(name, ..)| *name == goal.of);
            assert!(is_ratio || is_case(goal.of), "{}", goal.of);
        }
    }
}
