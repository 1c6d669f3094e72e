//! Median, least and greatest of what was measured.

use anyhow::{Result, ensure};
use serde::Serialize;

/// Fewer samples than this say nothing about their spread.
pub const LEAST_SAMPLES: usize = 5;

/// What samples of one quantity come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; of an even count, halfway between the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// All, in the order in which they were measured.
    pub samples: Vec<f64>,
}

impl Summary {
    /// Sums samples up.
    ///
    /// # Errors
    /// When there are fewer than [`LEAST_SAMPLES`], or one is no number.
    pub fn of(samples: Vec<f64>) -> Result<Self> {
        let count = samples.len();
        ensure!(count >= LEAST_SAMPLES, "{count} samples are too few: take {LEAST_SAMPLES} or more");
        ensure!(samples.iter().all(|sample| sample.is_finite()), "not all samples are numbers: {samples:?}");
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
        Ok(Self { median, min: sorted[0], max: sorted[count - 1], samples })
    }

    /// The sample that 99 of 100 do not exceed, by the nearest rank; of fewer than 100, the greatest.
    pub fn p99(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * 99).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    fn of(samples: &[f64]) -> [f64; 3] {
        let Summary { median, min, max, .. } = Summary::of(samples.to_vec()).expect("enough");
        [median, min, max]
    }

    #[test]
    fn the_median_of_an_odd_count_is_the_middle_one() {
        assert_eq!(of(&[9.0, -1.0, 3.0, 2.0, 100.0]), [3.0, -1.0, 100.0]);
    }

    #[test]
    fn the_median_of_an_even_count_is_halfway_between_the_middle_two() {
        assert_eq!(of(&[6.0, 1.0, 2.0, 5.0, 3.0, 100.0]), [4.0, 1.0, 100.0]);
    }

    #[test]
    fn of_200_samples_two_may_exceed_the_99th_percentile() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Summary::of(samples).expect("enough").p99(), 198.0);
        assert_eq!(Summary::of(vec![1.0, 9.0, 2.0, 3.0, 4.0]).expect("enough").p99(), 9.0);
    }

    #[test]
    fn samples_keep_their_order() {
        let samples = vec![5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(Summary::of(samples.clone()).expect("enough").samples, samples);
    }

    #[test]
    fn too_few_samples_and_no_numbers_are_refused() {
        let error = Summary::of(vec![1.0; 4]).expect_err("too few").to_string();
        assert!(error.contains("4 samples are too few"), "{error}");
        assert!(Summary::of(vec![1.0, 1.0, 1.0, 1.0, f64::NAN]).is_err());
        assert!(Summary::of(vec![1.0, 1.0, 1.0, 1.0, f64::INFINITY]).is_err());
    }
}
