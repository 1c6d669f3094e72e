//! What policy costs each packet, beside nftables; what a change of it costs.

use anyhow::Result;
use nexa_lab::{down, ledger::Ledger, process};
use nix::sys::signal::Signal;

use super::{Bench, Setting};
use crate::{
    goal::{Figure::Median, Goal, Limit::AtMost},
    interleave::{self, Better, Case, Metric, Series},
};
use bed::Bed;
use cases::Measured;

mod arm;
mod bed;
mod cases;
mod conntrack;
mod entries;
mod frame;
mod guard;
mod inject;
mod nft;
mod place;
mod world;

pub(super) const BENCH: Bench = Bench { name: "policy", run, goals: &GOALS };

const GOALS: [Goal; 10] = [
    Goal { of: "live_ratio", figure: Median, limit: AtMost(0.25) },
    Goal { of: "live_growth", figure: Median, limit: AtMost(1.1) },
    Goal { of: "class_2k_ratio", figure: Median, limit: AtMost(0.8) },
    Goal { of: "class_20k_ratio", figure: Median, limit: AtMost(0.8) },
    Goal { of: "class_linear_ratio", figure: Median, limit: AtMost(0.05) },
    Goal { of: "class_growth", figure: Median, limit: AtMost(2.0) },
    Goal { of: "new_2k_ratio", figure: Median, limit: AtMost(1.0) },
    Goal { of: "new_20k_ratio", figure: Median, limit: AtMost(1.0) },
    Goal { of: "guard_malformed_ratio", figure: Median, limit: AtMost(0.35) },
    Goal { of: "guard_unknown_ratio", figure: Median, limit: AtMost(0.5) },
];

/// Quotients of what was measured: name, dividend, divisors of which the least counts, and what it is.
const RATIOS: [(&str, &str, &[&str], &str); 10] = [
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
    down::clean(setting.folder)?.iter().for_each(|line| say(line));
    setting.folder.make_reachable()?;
    let ledger = Ledger::new(&setting.folder.state(), setting.folder.root())?;
    ledger.supervisor(process::record("nexa-bench", nix::unistd::getpid().as_raw(), Signal::SIGTERM)?)?;
    ledger.folder(&setting.folder.reachable())?;
    let outcome = measure(setting, &ledger, say);
    down::clean(setting.folder)?;
    outcome
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
    let ratios = ratios(&results)?;
    results.extend(ratios);
    Ok(results)
}

/// The quotients whose parts were measured.
fn ratios(results: &[Series]) -> Result<Vec<Series>> {
    let find = |name: &str| results.iter().find(|series| series.metric.name == name);
    let mut ratios = Vec::new();
    for (name, dividend, divisors, what) in RATIOS {
        let least = divisors
            .iter()
            .filter_map(|name| find(name))
            .min_by(|one, other| one.summary.median.total_cmp(&other.summary.median));
        if let (Some(dividend), Some(divisor)) = (find(dividend), least) {
            let metric = Metric { name, unit: "", better: Better::Lower, what };
            ratios.push(dividend.beside(divisor, metric, |dividend, divisor| dividend / divisor)?);
        }
    }
    Ok(ratios)
}

#[cfg(test)]
mod tests {
    use super::{GOALS, RATIOS, cases, guard};

    #[test]
    fn every_ratio_is_of_cases_and_every_goal_of_a_ratio() {
        let is_case = |name: &str| {
            cases::ALL.iter().map(|case| case.name).chain(guard::names()).any(|case| case == name)
        };
        for (name, dividend, divisors, _) in RATIOS {
            assert!(is_case(dividend) && divisors.iter().all(|divisor| is_case(divisor)), "{name}");
        }
        for goal in GOALS {
            assert!(RATIOS.iter().any(|(name, ..)| *name == goal.of), "{}", goal.of);
        }
    }
}
