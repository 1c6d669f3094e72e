//! Userspace WireGuard engines beside each other and beside a bare veth.

use anyhow::Result;
use nexa_lab::ledger::Ledger;

use super::{Bench, Setting};
use crate::{
    goal::{
        Figure::Median,
        Goal,
        Limit::{AtLeast, AtMost},
    },
    interleave::{self, Case, Series},
    ledger::with_ledger,
    ratio::{self, Ratio},
};
use cases::Measured;
use scene::Scene;

mod cases;
mod engine;
mod flood;
mod link;
mod load;
mod scene;

pub(super) const BENCH: Bench = Bench { name: "tunnel", run, goals: &GOALS };

const GOALS: [Goal; 16] = [
    Goal { of: "up_by_wireguard_go", figure: Median, limit: AtLeast(8.0) },
    Goal { of: "down_by_wireguard_go", figure: Median, limit: AtLeast(8.0) },
    Goal { of: "up_by_boringtun", figure: Median, limit: AtLeast(9.0) },
    Goal { of: "down_by_boringtun", figure: Median, limit: AtLeast(9.0) },
    Goal { of: "up_by_gotatun", figure: Median, limit: AtLeast(4.0) },
    Goal { of: "down_by_gotatun", figure: Median, limit: AtLeast(4.0) },
    Goal { of: "cpu_by_wireguard_go", figure: Median, limit: AtMost(0.14) },
    Goal { of: "up_by_veth", figure: Median, limit: AtLeast(0.22) },
    Goal { of: "down_by_veth", figure: Median, limit: AtLeast(0.22) },
    Goal { of: "up_copying_by_veth", figure: Median, limit: AtLeast(0.4) },
    Goal { of: "down_copying_by_veth", figure: Median, limit: AtLeast(0.4) },
    Goal { of: "round_trip_by_veth", figure: Median, limit: AtMost(1.6) },
    Goal { of: "round_trip_p99_by_wireguard_go", figure: Median, limit: AtMost(0.45) },
    Goal { of: "udp_by_wireguard_go", figure: Median, limit: AtLeast(4.0) },
    Goal { of: "flooded_by_calm", figure: Median, limit: AtLeast(0.9) },
    Goal { of: "flooded_handshake_p99_ms", figure: Median, limit: AtMost(2_000.0) },
];

const RATIOS: [Ratio; 15] = [
    (
        "up_by_wireguard_go",
        "up_ours_gbit_per_s",
        &["up_wireguard_go_gbit_per_s"],
        "TCP up: ours by wireguard-go",
    ),
    ("down_by_wireguard_go", "down_ours_gbit_per_s", &["down_wireguard_go_gbit_per_s"], "TCP down: the same"),
    ("up_by_boringtun", "up_ours_gbit_per_s", &["up_boringtun_gbit_per_s"], "TCP up: ours by boringtun-cli"),
    ("down_by_boringtun", "down_ours_gbit_per_s", &["down_boringtun_gbit_per_s"], "TCP down: the same"),
    ("up_by_gotatun", "up_ours_gbit_per_s", &["up_gotatun_gbit_per_s"], "TCP up: ours by gotatun-cli"),
    ("down_by_gotatun", "down_ours_gbit_per_s", &["down_gotatun_gbit_per_s"], "TCP down: the same"),
    (
        "cpu_by_wireguard_go",
        "gateway_ours_cpu_s_per_gb",
        &["gateway_wireguard_go_cpu_s_per_gb"],
        "the gateway's CPU, client nexa-wg: ours by wireguard-go",
    ),
    ("up_by_veth", "up_ours_gbit_per_s", &["up_veth_gbit_per_s"], "TCP up: ours by the bare veth"),
    ("down_by_veth", "down_ours_gbit_per_s", &["down_veth_gbit_per_s"], "TCP down: the same"),
    (
        "up_copying_by_veth",
        "up_copying_gbit_per_s",
        &["up_veth_gbit_per_s"],
        "TCP up: ours with a copy for a cipher by the bare veth",
    ),
    ("down_copying_by_veth", "down_copying_gbit_per_s", &["down_veth_gbit_per_s"], "TCP down: the same"),
    (
        "round_trip_by_veth",
        "round_trip_ours_us",
        &["round_trip_veth_us"],
        "64 bytes there and back: ours by veth",
    ),
    (
        "round_trip_p99_by_wireguard_go",
        "round_trip_p99_ours_us",
        &["round_trip_p99_wireguard_go_us"],
        "the same, 99 of 100: ours by wireguard-go",
    ),
    ("udp_by_wireguard_go", "udp_ours_per_s", &["udp_wireguard_go_per_s"], "200 bytes: ours by wireguard-go"),
    (
        "flooded_by_calm",
        "guarded_flooded_gbit_per_s",
        &["guarded_calm_gbit_per_s"],
        "TCP up with the XDP guard on: in a flood by without",
    ),
];

fn run(setting: &Setting<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    with_ledger(setting.folder, say, |ledger, say| measure(setting, ledger, say))
}

fn measure(setting: &Setting<'_>, ledger: &Ledger, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    let wanted: Vec<Measured> = cases::ALL.into_iter().filter(|case| setting.wants(case.name)).collect();
    let mut scene = Scene::new(setting, ledger)?;
    for case in &wanted {
        scene.prepare(case.over)?;
    }
    let cases: Vec<_> = wanted
        .iter()
        .map(|case| Case { metric: case.metric(), run: move |scene: &mut Scene<'_>, _| case.run(scene) })
        .collect();
    let mut results = interleave::run(&mut scene, &cases, setting.rounds, say)?;
    let ratios = ratio::of(&RATIOS, &results)?;
    results.extend(ratios);
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::{GOALS, RATIOS, cases};
    use crate::interleave::Better;

    #[test]
    fn every_ratio_is_of_cases_and_every_goal_of_a_ratio_or_a_case() {
        let is_case = |name: &str| cases::ALL.iter().any(|case| case.name == name);
        for (name, dividend, divisors, _) in RATIOS {
            assert!(is_case(dividend) && divisors.iter().all(|divisor| is_case(divisor)), "{name}");
        }
        let is_ratio = |name: &str| RATIOS.iter().any(|(ratio, ..)| *ratio == name);
        assert!(GOALS.iter().all(|goal| is_ratio(goal.of) || is_case(goal.of)));
    }

    #[test]
    fn times_are_better_when_lower() {
        for case in cases::ALL {
            assert_eq!(case.metric().better == Better::Higher, case.name.ends_with("per_s"), "{}", case.name);
        }
    }
}
