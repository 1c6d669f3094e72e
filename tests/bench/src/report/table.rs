//! The table for people.

use std::fmt::Write as _;

use super::Report;
use crate::{
    goal::{Judged, Limit},
    interleave::Series,
};

/// The header of the figures' columns.
const FIGURES: [&str; 3] = ["median", "min", "max"];

pub(super) fn of(report: &Report) -> String {
    let Report { name, rounds, machine, floors, results, goals } = report;
    let mut text =
        format!("{name}: {} rounds, cases interleaved, their order rotated\n{machine}\n", rounds.count());
    if machine.is_busy() {
        text.push_str("BUSY: others use this machine; compare with the floors, and with no other run\n");
    }
    // One width for both, so that figures stand below each other.
    let width = floors.iter().chain(results).map(|series| series.metric.name.len()).max().unwrap_or_default();
    text.push('\n');
    rows(&mut text, "floors", width, floors);
    text.push('\n');
    rows(&mut text, "results", width, results);
    text.push('\n');
    judge(&mut text, goals);
    text
}

fn rows(text: &mut String, title: &str, width: usize, series: &[Series]) {
    let [median, min, max] = FIGURES;
    line(text, &format!("{title:width$} {median:>9} {min:>9} {max:>9}  {:7} {:7} what", "unit", "better"));
    for Series { metric, summary } in series {
        let places = places(summary.median);
        let [median, min, max] =
            [summary.median, summary.min, summary.max].map(|figure| figured(figure, places));
        let (name, unit, better, what) = (metric.name, metric.unit, metric.better.word(), metric.what);
        line(text, &format!("{name:width$} {median:>9} {min:>9} {max:>9}  {unit:7} {better:7} {what}"));
    }
}

fn judge(text: &mut String, goals: &[Judged]) {
    let width = goals.iter().map(|goal| goal.name.len()).max().unwrap_or_default();
    for goal in goals {
        let Judged { name, unit, value, limit } = goal;
        let word = if goal.met() { "met" } else { "MISSED" };
        let limit = match limit {
            Limit::AtLeast(limit) => format!("at least {limit}"),
            Limit::AtMost(limit) => format!("at most {limit}"),
        };
        // With the digits that decided, so that a close miss does not look like the limit itself.
        line(text, &format!("{word:6} {name:width$} {:>9} {unit:7} {limit} {unit}", figured(*value, 2)));
    }
    let met = goals.iter().filter(|goal| goal.met()).count();
    line(text, &format!("{met} of {} goals met", goals.len()));
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Three digits that matter, as far as there are so many after the point.
fn places(figure: f64) -> usize {
    match figure.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    }
}

fn figured(figure: f64, places: usize) -> String {
    format!("{figure:.places$}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn figures_stand_below_each_other_with_unit_and_direction() {
        let expected = "\
x: 5 rounds, cases interleaved, their order rotated
2 CPUs, a CPU, Linux 6.12; at the start 3 % busy, load 0.10 0.20 0.30

floors          median       min       max  unit    better  what
syscall_ns         102       100      1234  ns      lower   what it is

results         median       min       max  unit    better  what
x_ms              3.00     -1.50      5.00  ms      lower   what it is
y_gbit_per_s      5.00      5.00      5.00  Gbit/s  higher  what it is

met    x_ms median           3.00 ms      at most 50 ms
met    y_gbit_per_s min      5.00 Gbit/s  at least 5 Gbit/s
2 of 2 goals met
";
        assert_eq!(report(50.0, 3.0).table(), expected);
    }

    #[test]
    fn a_missed_goal_is_said_with_value_and_limit() {
        let table = report(2.5, 3.0).table();
        assert!(table.contains("MISSED x_ms median           3.00 ms      at most 2.5 ms\n"), "{table}");
        assert!(table.ends_with("1 of 2 goals met\n"), "{table}");
    }

    #[test]
    fn a_busy_machine_is_said_so() {
        assert!(!report(50.0, 3.0).table().contains("BUSY"));
        assert!(report(50.0, 60.0).table().contains("60 % busy, load 0.10 0.20 0.30\nBUSY: others use"));
    }
}
