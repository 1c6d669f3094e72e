//! What a run came to: a table for people, JSON for programs, and the exit code.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use serde::{Serialize, Serializer};

use crate::{
    goal::{Goal, Judged},
    interleave::{Rounds, Series},
    machine::Machine,
};

mod table;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// The bench.
    pub name: &'static str,
    /// How often each case ran.
    pub rounds: Rounds,
    /// Where it ran.
    pub machine: Machine,
    /// What the machine does at best.
    pub floors: Vec<Series>,
    /// What was measured.
    pub results: Vec<Series>,
    /// What was asked of it.
    pub goals: Vec<Judged>,
}

/// The content of `<name>.json`: what a program needs to compare two runs.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(serialize_with = "by_name")]
    floors: &'a [Series],
    #[serde(serialize_with = "by_name")]
    results: &'a [Series],
    goals: &'a [Judged],
}

impl Report {
    /// Judges results.
    ///
    /// # Errors
    /// When there is a goal for something that is not measured.
    pub fn new(
        name: &'static str,
        rounds: Rounds,
        machine: Machine,
        floors: Vec<Series>,
        results: Vec<Series>,
        goals: &[Goal],
    ) -> Result<Self> {
        let goals = goals.iter().map(|goal| goal.judge(&results)).collect::<Result<_>>()?;
        Ok(Self { name, rounds, machine, floors, results, goals })
    }

    /// The table.
    pub fn table(&self) -> String {
        table::of(self)
    }

    /// The JSON.
    ///
    /// # Errors
    /// Never: all figures are finite.
    pub fn json(&self) -> Result<String> {
        let Self { floors, results, goals, .. } = self;
        serde_json::to_string_pretty(&Document { floors, results, goals }).context("cannot write JSON")
    }

    /// Writes the JSON, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, self.json()? + "\n")
            .and_then(|()| fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Success when every goal is met.
    pub fn exit_code(&self) -> ExitCode {
        if self.goals.iter().all(Judged::met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// An object with a member for each series, in their order.
fn by_name<S: Serializer>(series: &&[Series], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Member<'a> {
        unit: &'a str,
        #[serde(flatten)]
        summary: &'a crate::stats::Summary,
    }
    serializer.collect_map(
        series.iter().map(|Series { metric, summary }| (metric.name, Member { unit: metric.unit, summary })),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        goal::{Figure, Limit},
        interleave::{Better, Metric},
        stats::Summary,
    };

    pub(super) fn report(limit_ms: f64, busy_percent: f64) -> Report {
        let series = |name, unit, better, samples: [f64; 5]| {
            let metric = Metric { name, unit, better, what: "what it is" };
            Series { metric, summary: Summary::of(samples.to_vec()).expect("enough") }
        };
        let machine = Machine {
            cpus: 2,
            model: "a CPU".to_owned(),
            kernel: "6.12".to_owned(),
            load: "0.10 0.20 0.30".to_owned(),
            busy_percent,
        };
        let floors = vec![series("syscall_ns", "ns", Better::Lower, [100.0, 101.0, 102.0, 103.0, 1234.5])];
        let results = vec![
            series("x_ms", "ms", Better::Lower, [5.0, 4.0, 3.0, 2.0, -1.5]),
            series("y_gbit_per_s", "Gbit/s", Better::Higher, [5.0; 5]),
        ];
        let goals = [
            Goal { of: "x_ms", figure: Figure::Median, limit: Limit::AtMost(limit_ms) },
            Goal { of: "y_gbit_per_s", figure: Figure::Min, limit: Limit::AtLeast(5.0) },
        ];
        Report::new("x", Rounds::LEAST, machine, floors, results, &goals).expect("judged")
    }

    #[test]
    fn the_json_has_exactly_this_shape() {
        let json: Value = serde_json::from_str(&report(2.5, 0.0).json().expect("written")).expect("read");
        let expected = json!({
            "floors": {
                "syscall_ns": {
                    "unit": "ns", "median": 102.0, "min": 100.0, "max": 1234.5,
                    "samples": [100.0, 101.0, 102.0, 103.0, 1234.5],
                },
            },
            "results": {
                "x_ms": {
                    "unit": "ms", "median": 3.0, "min": -1.5, "max": 5.0, "samples": [5.0, 4.0, 3.0, 2.0, -1.5],
                },
                "y_gbit_per_s": {
                    "unit": "Gbit/s", "median": 5.0, "min": 5.0, "max": 5.0, "samples": [5.0, 5.0, 5.0, 5.0, 5.0],
                },
            },
            "goals": [
                {"name": "x_ms median", "value": 3.0, "at_most": 2.5, "met": false},
                {"name": "y_gbit_per_s min", "value": 5.0, "at_least": 5.0, "met": true},
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_missed_goal_is_the_exit_code() {
        assert_eq!(report(3.0, 0.0).exit_code(), ExitCode::SUCCESS);
        assert_eq!(report(2.5, 0.0).exit_code(), ExitCode::FAILURE);
    }

    #[test]
    fn the_file_is_the_json_and_replaces_an_older_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        fs::write(&path, "old").expect("written");
        let report = report(3.0, 0.0);
        report.write(&path).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), report.json().expect("JSON") + "\n");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing else is left");
    }
}
