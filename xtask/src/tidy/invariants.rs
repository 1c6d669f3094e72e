//! What must always hold is held by something: each row of the table in docs/ARCHITECTURE.md names a test, a step of the
//! walk-through or a kind of fault, and there is one of that name.

use super::{File, Finding, Weight};

const DOCUMENT: &str = "docs/ARCHITECTURE.md";
const HEADING: &str = "## What must always hold";

/// Where steps and kinds of faults have their names.
const NAMED_IN: [&str; 2] = ["tests/netns-lab/src/walk.rs", "tests/netns-lab/src/faults.rs"];

/// Finds rows that name nothing, and names of nothing.
pub fn check(files: &[File]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else { return Vec::new() };
    let finding = |line: usize, fix: String| Finding {
        place: format!("{DOCUMENT}:{line}"),
        fix,
        weight: Weight::Fault,
    };
    let rows = rows(&document.text);
    if rows.is_empty() {
        let fix = format!(
            "there is no table below `{HEADING}`; list the invariants there, each with what holds it"
        );
        return vec![finding(1, fix)];
    }
    let mut findings = Vec::new();
    for (line, held_by) in rows {
        let names: Vec<&str> =
            held_by.split('`').skip(1).step_by(2).filter(|name| !name.starts_with("cargo ")).collect();
        if names.is_empty() {
            findings.push(finding(
                line,
                "this invariant names no test; write one and name it in backticks".to_owned(),
            ));
        }
        findings.extend(names.into_iter().filter(|name| !exists(name, files)).map(|name| {
            finding(
                line,
                format!(
                    "there is no test, step or kind of fault `{name}`; name what holds this invariant now"
                ),
            )
        }));
    }
    findings
}

/// The last cells of the table, with their lines' numbers.
fn rows(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let section = lines
        .skip_while(|(_, line)| *line != HEADING)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "));
    let rows = section.filter(|(_, line)| line.starts_with('|')).skip(2);
    rows.filter_map(|(number, line)| Some((number, line.trim_end_matches('|').rsplit_once('|')?.1))).collect()
}

fn exists(name: &str, files: &[File]) -> bool {
    let quoted = format!("\"{name}\"");
    let function = format!("fn {name}(");
    files.iter().any(|file| {
        (NAMED_IN.contains(&file.path.as_str()) && file.text.contains(&quoted))
            || has_test(&file.text, &function)
    })
}

/// Whether a text has this function, and among the attributes above it one that makes it a test.
fn has_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut places = lines.iter().enumerate().filter(|(_, line)| line.contains(function));
    places.any(|(index, _)| {
        let mut above =
            lines[..index].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
        above.any(|line| line.starts_with("#[") && line.contains("test"))
    })
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, check};
    use crate::tidy::File;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn findings(rows: &str) -> Vec<String> {
        let table = format!(
            "# A\n\n## What must always hold\n\n| invariant | held by |\n|---|---|\n{rows}\n\n## Words\n"
        );
        let files = [
            file(DOCUMENT, &table),
            file(
                "a/tests/b.rs",
                "#[test]\nfn it_holds() {}\n\nfn helper() {}\n\n#[tokio::test]\n#[ignore = \"x\"]\nasync fn so_does_this() {}\n",
            ),
            file("tests/netns-lab/src/faults.rs", "fault(\"gateway killed\", …)"),
        ];
        check(&files).into_iter().map(|finding| format!("{}: {}", finding.place, finding.fix)).collect()
    }

    #[test]
    fn tests_steps_and_faults_are_known_by_their_names() {
        assert_eq!(
            findings(
                "| a | `it_holds`, `so_does_this` |\n| b | `gateway killed`; measured by `cargo xtask bench x` |"
            ),
            [""; 0]
        );
    }

    #[test]
    fn names_of_nothing_and_rows_without_a_name_are_found() {
        let found = findings("| a | `it_held` |\n| b | good will |\n| c | `helper` |\n| d | `gateway` |");
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found[0].starts_with("docs/ARCHITECTURE.md:7: there is no test, step or kind of fault `it_held`")
        );
        assert!(found[1].contains("names no test"));
        assert_eq!(findings("").len(), 1, "no table at all");
    }
}
