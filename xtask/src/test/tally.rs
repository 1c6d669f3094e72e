//! Counts of tests.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
};

/// How many tests passed and failed. Its text is the last line of `cargo xtask test`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and builds and checks that did.
    pub failed: u64,
}

impl Tally {
    /// Nothing ran.
    pub const fn is_empty(self) -> bool {
        self.passed == 0 && self.failed == 0
    }

    /// One check.
    pub const fn one(passed: bool) -> Self {
        if passed { Self { passed: 1, failed: 0 } } else { Self { passed: 0, failed: 1 } }
    }

    /// Adds up the `test result:` lines of Rust's test harness.
    pub fn of_harness(output: &str) -> Self {
        output.lines().filter_map(|line| line.trim_start().strip_prefix("test result: ")).map(result).sum()
    }

    /// Reads vitest's summary: `Tests  1 failed | 25 passed (26)`.
    pub fn of_vitest(output: &str) -> Self {
        let summaries = output.lines().filter_map(|line| line.trim_start().strip_prefix("Tests "));
        summaries
            .map(|summary| {
                let count = |word: &str| {
                    let mut parts = summary.split(['|', '(']).map(str::trim);
                    parts.find_map(|part| part.strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
                };
                Self { passed: count("passed"), failed: count("failed") }
            })
            .sum()
    }

    /// Counts the walk-through's steps and the rounds of faults, one line each.
    pub fn of_steps(output: &str) -> Self {
        output
            .lines()
            .filter_map(|line| match line.chars().next() {
                Some('✓') => Some(Self::one(true)),
                Some('✗') => Some(Self::one(false)),
                _ => None,
            })
            .sum()
    }
}

/// Reads `ok. 3 passed; 1 failed; 0 ignored; …`.
fn result(line: &str) -> Tally {
    let count = |word: &str| {
        line.split("; ")
            .flat_map(|part| part.split(". "))
            .find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
            .unwrap_or(0)
    };
    Tally { passed: count("passed"), failed: count("failed") }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn harness_lines_add_up() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::of_harness(output), Tally { passed: 13, failed: 2 });
    }

    #[test]
    fn output_without_results_counts_nothing() {
        assert!(Tally::of_harness("error: could not compile\n").is_empty());
    }

    #[test]
    fn vitest_is_counted_from_its_summary() {
        let output = " Test Files  1 failed | 1 passed (2)\n      Tests  1 failed | 25 passed (26)\n";
        assert_eq!(Tally::of_vitest(output), Tally { passed: 25, failed: 1 });
        assert_eq!(Tally::of_vitest("      Tests  7 passed (7)\n"), Tally { passed: 7, failed: 0 });
    }

    #[test]
    fn walk_through_lines_count_by_mark() {
        let output = "building\n✓ 1 bootstrap … 3 ms\n✗ 2 sign-in: 401\n  ✓ indented notes do not count\n";
        assert_eq!(Tally::of_steps(output), Tally { passed: 1, failed: 1 });
    }

    #[test]
    fn last_line_has_the_agreed_form() {
        assert_eq!(Tally { passed: 41, failed: 2 }.to_string(), "41 passed, 2 failed");
    }
}
