//! What `doctor` of a daemon found: for people as text, for programs as JSON (`--json`).
//!
//! The exit code is 0 where there is no problem, warnings or not, and 1 where there is one; settings that are not
//! allowed end it with 64 before it looks at anything.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// All that was looked at, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The program that looked.
    pub program: String,
    /// Its version.
    pub version: String,
    /// What it found. More checks come with later versions; a reader ignores those that it does not know.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which check it was: lower case with hyphens, never renamed. One check may find several things.
    pub check: String,
    /// The same for people.
    pub title: String,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it: where it begins with a command, the lines of it are a shell's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works now, but somebody should look at it.
    Warning,
    /// The daemon does not do its work with this.
    Problem,
    /// Not looked at; `found` says why.
    Skipped,
}

/// Whom a report is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs: JSON.
    Json,
}

impl Report {
    /// Writes it whole.
    ///
    /// # Errors
    /// When nobody reads it to its end.
    pub fn write(&self, form: Form, to: &mut impl Write) -> io::Result<()> {
        match form {
            Form::Text => write!(to, "{self}"),
            Form::Json => writeln!(to, "{}", serde_json::to_string_pretty(self)?),
        }
    }

    /// Whether there is a problem, and the exit code therefore 1.
    pub fn has_problem(&self) -> bool {
        self.count(Severity::Problem) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &str, title: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, title.into(), Severity::Ok, found.into(), None)
    }

    /// Works, with something to look at.
    pub fn warning(
        check: &str,
        title: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, title.into(), Severity::Warning, found.into(), Some(remedy.into()))
    }

    /// Does not work.
    pub fn problem(
        check: &str,
        title: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, title.into(), Severity::Problem, found.into(), Some(remedy.into()))
    }

    /// Not looked at, and why.
    pub fn skipped(check: &str, title: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, title.into(), Severity::Skipped, why.into(), None)
    }

    /// Whether it is a problem.
    pub fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }

    fn new(check: &str, title: String, severity: Severity, found: String, remedy: Option<String>) -> Self {
        Self { check: check.to_owned(), title, severity, found, remedy }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "✓",
            Self::Warning => "!",
            Self::Problem => "✗",
            Self::Skipped => "–",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.title, self.found)?;
        let remedy = self.remedy.iter().flat_map(|remedy| remedy.lines()).enumerate();
        for (index, line) in remedy {
            write!(f, "\n  {} {line}", if index == 0 { "→" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let counted =
            [(self.count(Severity::Problem), "problem"), (self.count(Severity::Warning), "warning")];
        let counted =
            counted.map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
        let skipped = self.count(Severity::Skipped);
        writeln!(f, "{} {}: {}, {skipped} not looked at", self.program, self.version, counted.join(", "))
    }
}
