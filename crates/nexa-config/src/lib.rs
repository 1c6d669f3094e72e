//! The settings of a daemon, read in one place: flags beat the environment, the environment beats the file.
//!
//! A program describes its command line once, as a `clap` parser. Nothing is repeated for the other layers: the flag
//! `--metrics-listen` is `PREFIX_METRICS_LISTEN` in the environment and `metrics_listen` in the file, and a value goes
//! through the flag's own parser wherever it comes from. Flags without a value (`--json`) belong to one command and are
//! no settings, and neither are a command's own [`Program::arguments`]. A setting takes one value, and none may conflict
//! with another: what excludes each other is a secret.
//!
//! Reading is strict. What is not allowed is an [`Stop::Invalid`] that names where the value stands, the value and what
//! is allowed. Secrets ([`SecretDeclaration`]) come as text or from a file, and their text is never printed.
//!
//! Invariant: nothing here looks at the process's arguments or environment but [`Inputs::of_process`].

mod catalogue;
mod check;
mod file;
mod layers;
pub mod near;
mod problem;
mod secret;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use secret::{Secret, SecretError, SecretSource, others_may_read};

use catalogue::Catalogue;
use layers::{FlagLayer, Layers};
use problem::Problem;

/// Exit code for settings that are not allowed, or that are missing: `EX_USAGE` of sysexits.
pub const EXIT_USAGE: u8 = 64;

/// A program, as far as its settings go.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// As it is called.
    pub name: &'static str,
    /// What the names of its environment variables begin with, without the last underscore.
    pub prefix: &'static str,
    /// The file that is read where no other is named, and where it exists.
    pub default_file: &'static str,
    /// The command whose settings `config check` looks at.
    pub main_command: &'static str,
    /// Its secrets.
    pub secrets: &'static [SecretDeclaration],
    /// Flags that take a value and are no settings, such as what a command is asked about: by name, without the dashes.
    pub arguments: &'static [&'static str],
}

/// A setting `x` that is secret, with its other half `x_file`, which names a file that holds it.
///
/// The highest layer that has either of the two decides; both in one layer contradict each other.
#[derive(Clone, Copy, Debug)]
pub struct SecretDeclaration {
    /// Its key.
    pub name: &'static str,
    /// Whether the secret itself may stand on the command line, which every user of the host can read.
    pub flag: SecretFlag,
    /// When its file is read.
    pub file_read: FileRead,
    /// The commands that cannot do without it.
    pub needed_by: &'static [&'static str],
}

/// Whether a secret itself may stand on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFlag {
    /// It may: it need not hold a secret part.
    Taken,
    /// It is refused, with the other ways.
    Refused,
}

/// When a secret's file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRead {
    /// At the start, which fails without it.
    AtStart,
    /// Whenever it is needed, so that it may change or come later.
    WhenNeeded,
}

/// What the layers are read from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The first is the program's name.
    pub arguments: Vec<OsString>,
    /// Names and values.
    pub environment: BTreeMap<OsString, OsString>,
    /// The file that is read where no other is named, and where it exists.
    pub default_file: PathBuf,
}

impl Inputs {
    /// Those of this process.
    pub fn of_process(program: &Program) -> Self {
        Self {
            arguments: std::env::args_os().collect(),
            environment: std::env::vars_os().collect(),
            default_file: program.default_file.into(),
        }
    }
}

/// Why the program ends before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help, version or the outcome of a good `config check`: what was asked for.
    Answer(String),
    /// The outcome of a `config check` that found faults; exit with [`EXIT_USAGE`].
    Faults(String),
    /// What is wrong, one fault a line; exit with [`EXIT_USAGE`].
    Invalid(String),
}

impl Stop {
    /// Prints it, and gives the exit code.
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is for a person's terminal")]
    pub fn tell(&self, program: &Program) -> ExitCode {
        match self {
            Self::Answer(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Self::Faults(text) => {
                print!("{text}");
                ExitCode::from(EXIT_USAGE)
            }
            Self::Invalid(text) => {
                eprintln!("{}: {text}", program.name);
                ExitCode::from(EXIT_USAGE)
            }
        }
    }
}

/// Reads the command line `T` of a program, with its other layers.
///
/// # Errors
/// [`Stop`].
pub fn read<T: Parser>(program: &Program, inputs: &Inputs) -> Result<T, Stop> {
    let catalogue = Catalogue::new(T::command(), program);
    // First the flags alone, with nothing required: they say which command it is, and which file to read.
    let flags = catalogue
        .optional()
        .try_get_matches_from(&inputs.arguments)
        .map_err(|error| stop(&error, &catalogue))?;
    let flags = FlagLayer::new(flags);
    let layers = Layers::read(&catalogue, &flags, inputs);
    if flags.command() == check::COMMAND {
        return Err(check::report(&catalogue, layers, inputs));
    }
    let layers = layers.map_err(|problems| invalid(&problems))?;
    let settings = catalogue.settings_of(flags.command());
    let found = layers.resolve(&settings, flags.command());
    if !found.problems.is_empty() {
        return Err(invalid(&found.problems));
    }
    let command = catalogue.with_defaults(&found.chosen);
    let matches =
        command.try_get_matches_from(&inputs.arguments).map_err(|error| stop(&error, &catalogue))?;
    T::from_arg_matches(&matches).map_err(|error| stop(&error, &catalogue))
}

fn stop(error: &clap::Error, catalogue: &Catalogue) -> Stop {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Answer(error.render().to_string()),
        _ => Stop::Invalid(Problem::of_flag(error, catalogue).to_string()),
    }
}

fn invalid(problems: &[Problem]) -> Stop {
    Stop::Invalid(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
