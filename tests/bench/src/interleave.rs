//! Cases that are compared: each runs once a round, and no case is always first.

use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use nexa_lab::interrupt;

use crate::stats::{LEAST_SAMPLES, Summary};

/// What is measured, and how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in JSON, which says the unit too.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which direction is better.
    pub better: Better,
    /// What it is, in a line for people.
    pub what: &'static str,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less: a time.
    Lower,
    /// More: a speed.
    Higher,
}

impl Better {
    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// A metric with what it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What was measured.
    pub metric: Metric,
    /// What it came to.
    pub summary: Summary,
}

impl Series {
    /// The same samples seen as another quantity, such as a time as a speed.
    ///
    /// # Errors
    /// When one becomes no number.
    pub fn seen_as(&self, metric: Metric, convert: impl Fn(f64) -> f64) -> Result<Self> {
        let summary = Summary::of(self.summary.samples.iter().copied().map(convert).collect())?;
        Ok(Self { metric, summary })
    }

    /// What this and another series of the same run come to together, round by round.
    ///
    /// # Errors
    /// When a round comes to no number.
    pub fn beside(&self, other: &Self, metric: Metric, join: impl Fn(f64, f64) -> f64) -> Result<Self> {
        let rounds = self.summary.samples.iter().zip(&other.summary.samples);
        let summary = Summary::of(rounds.map(|(one, other)| join(*one, *other)).collect())?;
        Ok(Self { metric, summary })
    }
}

/// How often each case runs: often enough for a [`Summary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds(usize);

impl Rounds {
    /// As few as a summary allows.
    pub const LEAST: Self = Self(LEAST_SAMPLES);

    /// So many rounds.
    ///
    /// # Errors
    /// When they are too few.
    pub fn new(count: usize) -> Result<Self> {
        ensure!(count >= LEAST_SAMPLES, "{count} rounds are too few: take {LEAST_SAMPLES} or more");
        Ok(Self(count))
    }

    /// How many.
    pub const fn count(self) -> usize {
        self.0
    }
}

impl FromStr for Rounds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.parse().context("not a number of rounds")?)
    }
}

/// A case: a metric, and how to measure it once. `R` takes what all cases of a bench work on, and the number of the
/// round, from 0.
#[derive(Debug)]
pub struct Case<R> {
    /// What it measures.
    pub metric: Metric,
    /// Measures once.
    pub run: R,
}

/// How a case is measured that needs nothing of its own: `C` is what all cases of the bench work on.
pub type Plain<C> = fn(&mut C, usize) -> Result<f64>;

/// Runs all cases, round by round, and tells `say` of each round that is done.
///
/// # Errors
/// When a case fails, or on Ctrl-C: the figures of a run that did not hold are worth nothing.
pub fn run<C, R: Fn(&mut C, usize) -> Result<f64>>(
    context: &mut C,
    cases: &[Case<R>],
    rounds: Rounds,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Series>> {
    let mut samples = vec![Vec::with_capacity(rounds.count()); cases.len()];
    for round in 0..rounds.count() {
        for index in order(cases.len(), round) {
            interrupt::check()?;
            let Case { metric, run } = &cases[index];
            let sample =
                run(context, round).with_context(|| format!("{} in round {}", metric.name, round + 1))?;
            samples[index].push(sample);
        }
        say(&format!("round {} of {}", round + 1, rounds.count()));
    }
    let series = |(case, samples): (&Case<R>, _)| {
        let summary = Summary::of(samples).context(case.metric.name)?;
        Ok(Series { metric: case.metric, summary })
    };
    cases.iter().zip(samples).map(series).collect()
}

/// The order of a round: each round starts one case later.
fn order(cases: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..cases).map(move |place| (place + round) % cases)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    const fn metric(name: &'static str) -> Metric {
        Metric { name, unit: "ms", better: Better::Lower, what: "" }
    }

    const CASES: [Case<Plain<Vec<char>>>; 3] = [
        Case { metric: metric("a"), run: |ran, round| note(ran, 'a', round) },
        Case { metric: metric("b"), run: |ran, round| note(ran, 'b', 10 + round) },
        Case { metric: metric("c"), run: |ran, round| note(ran, 'c', 20 + round) },
    ];

    #[expect(clippy::unnecessary_wraps, reason = "as a case's function has it")]
    fn note(ran: &mut Vec<char>, name: char, value: usize) -> Result<f64> {
        ran.push(name);
        Ok(f64::from(u32::try_from(value).expect("small")))
    }

    #[test]
    fn every_round_runs_each_case_once_and_starts_one_later() {
        let mut ran = Vec::new();
        let mut said = Vec::new();
        let series = run(&mut ran, &CASES, Rounds::LEAST, &mut |line| said.push(line.to_owned()));
        assert_eq!(ran.iter().collect::<String>(), "abcbcacababcbca");
        assert_eq!((said.len(), said[0].as_str()), (5, "round 1 of 5"));
        let series = series.expect("measured");
        assert_eq!(series[1].metric.name, "b");
        assert_eq!(
            series[1].summary.samples,
            [10.0, 11.0, 12.0, 13.0, 14.0],
            "each case has its own samples"
        );
    }

    #[test]
    fn fewer_than_five_rounds_are_refused() {
        assert!(Rounds::new(4).is_err());
        assert!("4".parse::<Rounds>().expect_err("too few").to_string().contains("take 5 or more"));
        assert!("x".parse::<Rounds>().is_err());
        assert_eq!("5".parse::<Rounds>().expect("enough"), Rounds::LEAST);
    }

    #[test]
    fn a_case_that_fails_ends_the_run_with_its_name_and_round() {
        let cases: [Case<Plain<()>>; 1] = [Case {
            metric: metric("restart_ms"),
            run: |_: &mut (), round| if round == 2 { bail!("did not recover") } else { Ok(1.0) },
        }];
        let error = run(&mut (), &cases, Rounds::LEAST, &mut |_| {}).expect_err("failed");
        assert_eq!(format!("{error:#}"), "restart_ms in round 3: did not recover");
    }

    #[test]
    fn a_time_is_seen_as_a_speed_sample_by_sample() {
        let summary = Summary::of(vec![1.0, 2.0, 4.0, 5.0, 10.0]).expect("enough");
        let series = Series { metric: metric("ns"), summary };
        let speed = series.seen_as(metric("per_s"), |ns| 20.0 / ns).expect("numbers").summary;
        assert_eq!((speed.min, speed.median, speed.max), (2.0, 5.0, 20.0));
        assert!(series.seen_as(metric("per_s"), |_| f64::NAN).is_err());
    }
}
