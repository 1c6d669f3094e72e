//! Delays of the main job: a rule added, a rule removed, the gateway started again.

use std::{net::SocketAddr, time::Instant};

use anyhow::Result;
use nexa_lab::{
    Lab,
    names::{SERVER, port},
    walk::{
        self, Walk,
        measure::{self, End},
    },
};
use serde_json::json;

use super::{Bench, Setting};
use crate::{
    goal::{
        Figure::{Max, Median},
        Goal,
        Limit::AtMost,
    },
    interleave::{self, Better, Case, Metric, Plain, Series},
};

pub(super) const BENCH: Bench = Bench { name: "main-job", run, goals: &GOALS };

const ADDED: &str = "rule_added_to_first_packet_ms";
const REMOVED: &str = "rule_removed_to_stalled_ms";
const KILLED: &str = "gateway_restart_to_recovered_ms";
const PLANNED: &str = "gateway_planned_restart_to_recovered_ms";

const GOALS: [Goal; 6] = [
    Goal { of: ADDED, figure: Median, limit: AtMost(50.0) },
    Goal { of: REMOVED, figure: Median, limit: AtMost(50.0) },
    Goal { of: REMOVED, figure: Max, limit: AtMost(500.0) },
    Goal { of: KILLED, figure: Median, limit: AtMost(1000.0) },
    Goal { of: KILLED, figure: Max, limit: AtMost(5000.0) },
    Goal { of: PLANNED, figure: Median, limit: AtMost(1000.0) },
];

/// A lab whose tunnel is up, and a resource that nothing grants between two cases.
struct Job<'a> {
    walk: Walk<'a>,
    resource: String,
}

fn cases<'a>() -> [Case<Plain<Job<'a>>>; 5] {
    [
        Case {
            metric: in_ms(
                "api_write_ms",
                "the call that adds a rule, by itself: no sooner can anybody know of it",
            ),
            run: api_write,
        },
        Case {
            metric: in_ms(
                ADDED,
                "API's answer → the client's first packet through; below zero: before the answer",
            ),
            run: added,
        },
        Case {
            metric: in_ms(
                REMOVED,
                "API's answer → last byte of a running download; below zero: before the answer",
            ),
            run: removed,
        },
        Case {
            metric: in_ms(KILLED, "start after SIGKILL → the client's first packet through"),
            run: |job, round| restarted(job, End::Killed, round),
        },
        Case {
            metric: in_ms(PLANNED, "start after SIGTERM → the client's first packet through"),
            run: |job, round| restarted(job, End::Planned, round),
        },
    ]
}

fn run(setting: &Setting<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    let mut lab = Lab::start(setting.folder, setting.programs, say)?;
    let series = measure(&mut lab, setting, say);
    let ended = lab.end();
    series.and_then(|series| ended.map(|()| series))
}

fn measure(lab: &mut Lab, setting: &Setting<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    let walk = walk::to_tunnel(lab, say)?;
    let traffic = json!([{"protocol": "tcp", "ports": port::SECOND_HTTP.to_string()}]);
    let resource = walk.make_resource("measured", &traffic)?;
    interleave::run(&mut Job { walk, resource }, &cases(), setting.rounds, say)
}

fn api_write(job: &mut Job<'_>, round: usize) -> Result<f64> {
    let granted = measure::grant(&job.walk, &job.resource)?;
    measure::take_away(&job.walk, granted, address(port::SECOND_HTTP, round))?;
    Ok(ms(granted.asked, granted.answered))
}

fn added(job: &mut Job<'_>, round: usize) -> Result<f64> {
    let address = address(port::SECOND_HTTP, round);
    let (granted, through) = measure::rule_added(&job.walk, &job.resource, address)?;
    measure::take_away(&job.walk, granted, address)?;
    Ok(ms(granted.answered, through))
}

fn removed(job: &mut Job<'_>, round: usize) -> Result<f64> {
    let stalled = measure::rule_removed(&job.walk, &job.resource, address(port::SECOND_HTTP, round))?;
    Ok(ms(stalled.answered, stalled.last_byte))
}

fn restarted(job: &mut Job<'_>, end: End, round: usize) -> Result<f64> {
    let recovered = measure::restarted(&mut job.walk, end, address(port::HTTP, round))?;
    Ok(recovered.as_secs_f64() * 1e3)
}

/// The server by IPv4 in one round, by IPv6 in the next.
fn address(port: u16, round: usize) -> SocketAddr {
    SERVER.sockets(port)[round % 2]
}

/// Milliseconds from one moment to another, below zero when the other was earlier.
fn ms(from: Instant, to: Instant) -> f64 {
    let (after, before) = (to.saturating_duration_since(from), from.saturating_duration_since(to));
    (after.as_secs_f64() - before.as_secs_f64()) * 1e3
}

const fn in_ms(name: &'static str, what: &'static str) -> Metric {
    Metric { name, unit: "ms", better: Better::Lower, what }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{GOALS, address, cases, ms};

    #[test]
    fn what_came_before_the_answer_is_below_zero() {
        let answered = Instant::now();
        let later = answered + Duration::from_millis(3);
        assert!((ms(answered, later) - 3.0).abs() < 1e-9);
        assert!((ms(later, answered) + 3.0).abs() < 1e-9);
    }

    #[test]
    fn rounds_alternate_between_the_families() {
        assert!(address(80, 0).is_ipv4() && address(80, 1).is_ipv6() && address(80, 2).is_ipv4());
    }

    #[test]
    fn every_goal_is_of_a_case() {
        for goal in GOALS {
            assert!(cases().iter().any(|case| case.metric.name == goal.of), "{}", goal.of);
        }
    }
}
