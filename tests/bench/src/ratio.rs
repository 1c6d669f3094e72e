//! Quotients of what was measured, which most goals are about.

use anyhow::Result;

use crate::interleave::{Metric, Series};

/// Name, dividend, divisors of which the one with the least median counts, and what it is.
pub type Ratio = (&'static str, &'static str, &'static [&'static str], &'static str);

/// Those of `ratios` whose parts are among `results`.
///
/// # Errors
/// When a round comes to no number.
pub fn of(ratios: &[Ratio], results: &[Series]) -> Result<Vec<Series>> {
    let find = |name: &str| results.iter().find(|series| series.metric.name == name);
    let mut quotients = Vec::new();
    for &(name, dividend, divisors, what) in ratios {
        let least = divisors
            .iter()
            .filter_map(|name| find(name))
            .min_by(|one, other| one.summary.median.total_cmp(&other.summary.median));
        if let (Some(dividend), Some(divisor)) = (find(dividend), least) {
            let metric = Metric { name, unit: "", better: dividend.metric.better, what };
            quotients.push(dividend.beside(divisor, metric, |dividend, divisor| dividend / divisor)?);
        }
    }
    Ok(quotients)
}
