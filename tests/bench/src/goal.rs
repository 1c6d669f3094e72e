//! What a figure is to be, and whether it is.

use anyhow::{Context as _, Result};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::interleave::Series;

/// What is asked of a bench's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The result's name.
    pub of: &'static str,
    /// Which of its figures.
    pub figure: Figure,
    /// What that is to be.
    pub limit: Limit,
}

/// A figure of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The median.
    Median,
    /// The least.
    Min,
    /// The one that 99 of 100 samples do not exceed.
    P99,
    /// The greatest.
    Max,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// A goal, and what came.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The result's name, and which of its figures.
    pub name: String,
    /// The result's unit.
    pub unit: &'static str,
    /// What came.
    pub value: f64,
    /// What it was to be.
    pub limit: Limit,
}

impl Goal {
    /// Judges results.
    ///
    /// # Errors
    /// When none has the goal's name: a goal that cannot be missed is a fault of the bench.
    pub fn judge(&self, results: &[Series]) -> Result<Judged> {
        let Self { of, figure, limit } = *self;
        let series = results
            .iter()
            .find(|series| series.metric.name == of)
            .with_context(|| format!("there is a goal for {of}, which is not measured"))?;
        let (word, value) = match figure {
            Figure::Median => ("median", series.summary.median),
            Figure::Min => ("min", series.summary.min),
            Figure::P99 => ("p99", series.summary.p99()),
            Figure::Max => ("max", series.summary.max),
        };
        Ok(Judged { name: format!("{of} {word}"), unit: series.metric.unit, value, limit })
    }
}

impl Judged {
    /// Whether what came is what it was to be.
    pub fn met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::AtMost(limit) => self.value <= limit,
        }
    }
}

impl Serialize for Judged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("value", &self.value)?;
        match self.limit {
            Limit::AtLeast(limit) => map.serialize_entry("at_least", &limit)?,
            Limit::AtMost(limit) => map.serialize_entry("at_most", &limit)?,
        }
        map.serialize_entry("met", &self.met())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        interleave::{Better, Metric},
        stats::Summary,
    };

    fn judge(figure: Figure, limit: Limit) -> bool {
        let metric = Metric { name: "x_ms", unit: "ms", better: Better::Lower, what: "" };
        let summary = Summary::of(vec![1.0, 2.0, 3.0, 4.0, 90.0]).expect("enough");
        Goal { of: "x_ms", figure, limit }.judge(&[Series { metric, summary }]).expect("there").met()
    }

    #[test]
    fn a_goal_is_met_up_to_its_limit_and_missed_beyond() {
        assert!(judge(Figure::Median, Limit::AtMost(3.0)));
        assert!(!judge(Figure::Median, Limit::AtMost(2.9)));
        assert!(judge(Figure::Median, Limit::AtLeast(3.0)));
        assert!(!judge(Figure::Median, Limit::AtLeast(3.1)));
    }

    #[test]
    fn a_goal_may_be_for_the_least_or_the_greatest() {
        assert!(!judge(Figure::Max, Limit::AtMost(89.0)));
        assert!(judge(Figure::Max, Limit::AtMost(90.0)));
        assert!(judge(Figure::Min, Limit::AtLeast(1.0)));
        assert!(!judge(Figure::Min, Limit::AtLeast(1.1)));
    }

    #[test]
    fn a_goal_for_what_is_not_measured_is_refused() {
        let goal = Goal { of: "y_ms", figure: Figure::Median, limit: Limit::AtMost(1.0) };
        assert!(goal.judge(&[]).expect_err("refused").to_string().contains("y_ms"));
    }
}
