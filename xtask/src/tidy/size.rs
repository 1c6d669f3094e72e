//! Files that have grown too large to be one thing.

use super::{File, Finding, Weight};

/// From here on somebody should look again.
const HINT_LINES: usize = 400;
/// From here on the file has to be split.
const FAULT_LINES: usize = 800;

const ENDINGS: [&str; 5] = [".rs", ".ts", ".tsx", ".css", ".sql"];

/// Finds files of code that are too long.
pub fn check(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| ENDINGS.iter().any(|ending| file.path.ends_with(ending)))
        .filter_map(|file| {
            let lines = file.text.lines().count();
            let weight = match lines {
                FAULT_LINES.. => Weight::Fault,
                HINT_LINES.. => Weight::Hint,
                _ => return None,
            };
            let fix = format!("{lines} lines; find the nouns in it and give each a file of its own");
            Some(Finding { place: file.path.clone(), fix, weight })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_lines(path: &str, lines: usize) -> Option<Weight> {
        let file = File { path: path.to_owned(), text: "x\n".repeat(lines) };
        check(&[file]).first().map(|finding| finding.weight)
    }

    #[test]
    fn long_files_are_hinted_at_and_longer_ones_are_faults() {
        assert_eq!(check_lines("a.rs", 399), None);
        assert_eq!(check_lines("a.rs", 400), Some(Weight::Hint));
        assert_eq!(check_lines("a.tsx", 799), Some(Weight::Hint));
        assert_eq!(check_lines("a.rs", 800), Some(Weight::Fault));
        assert_eq!(check_lines("Cargo.lock", 9_000), None, "written by tools");
    }
}
