//! `config check`: every setting, its value and where that comes from; then what is wrong, and what is odd.

use std::fmt::Write as _;
use std::path::Path;

use clap::Command;

use crate::catalogue::{Catalogue, Half, Setting};
use crate::layers::{Chosen, Layers, Resolved};
use crate::near::{did_you_mean, near};
use crate::problem::Problem;
use crate::{Inputs, Program, SecretSource, Stop, others_may_read};

/// The command's path.
pub const COMMAND: [&str; 2] = ["config", "check"];

/// Adds the command, with the flags of the command that it checks.
pub fn add(command: Command, program: &Program) -> Command {
    let settings: Vec<_> = command
        .find_subcommand(program.main_command)
        .map(|main| main.get_arguments().cloned().collect())
        .unwrap_or_default();
    let about = format!(
        "Print the settings of `{}`, where each comes from, and all that is wrong with them (of flags, only the first \
         fault); exit 64 if anything is",
        program.main_command
    );
    let [config, check] = COMMAND;
    let check = Command::new(check).about(about).args(settings);
    command.subcommand(
        Command::new(config)
            .about("Look at the settings")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(check),
    )
}

/// What there is to say.
pub fn report(catalogue: &Catalogue, layers: Result<Layers, Vec<Problem>>, inputs: &Inputs) -> Stop {
    let main = [catalogue.program.main_command.to_owned()];
    let settings = catalogue.settings_of(&main);
    let mut text = String::new();
    let (mut problems, notes) = match layers {
        Ok(layers) => {
            let resolved = layers.resolve(&settings, &main);
            text += &table(&settings, &resolved);
            let _ = match &layers.file.path {
                Some(path) => writeln!(text, "file: {}", path.display()),
                None => writeln!(text, "file: none; there is no {}", inputs.default_file.display()),
            };
            let notes = notes(catalogue, &layers, &resolved);
            let late = late_files(&resolved);
            (resolved.problems.into_iter().chain(late).collect(), notes)
        }
        Err(problems) => (problems, Vec::new()),
    };
    problems.dedup();
    for note in notes {
        let _ = writeln!(text, "! {note}");
    }
    for problem in &problems {
        let _ = writeln!(text, "✗ {problem}");
    }
    if problems.is_empty() { Stop::Answer(text) } else { Stop::Faults(text) }
}

fn table(settings: &[Setting], resolved: &Resolved<'_>) -> String {
    let rows = settings.iter().map(|setting| {
        let (value, origin) =
            shown(setting, resolved.chosen.iter().find(|chosen| chosen.setting.key == setting.key));
        [setting.key.clone(), value, origin]
    });
    let rows: Vec<_> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (key_width, value_width) = (width(0), width(1));
    // Writing to a string cannot fail.
    rows.iter().fold(String::new(), |mut text, [key, value, origin]| {
        let _ = writeln!(text, "{key:key_width$}  {value:value_width$}  {origin}");
        text
    })
}

fn shown(setting: &Setting, chosen: Option<&Chosen<'_>>) -> (String, String) {
    let default = || {
        let values = setting.arg.get_default_values();
        values.first().map(|value| value.to_string_lossy().into_owned())
    };
    match chosen {
        Some(chosen) if setting.is_hidden() => ("(set, hidden)".to_owned(), chosen.origin.to_string()),
        Some(chosen) => (chosen.value.clone(), chosen.origin.to_string()),
        None => default()
            .map_or_else(|| ("–".to_owned(), "not set".to_owned()), |value| (value, "default".to_owned())),
    }
}

/// Files of secrets that are read later still should be there.
fn late_files(resolved: &Resolved<'_>) -> Vec<Problem> {
    let files =
        resolved.chosen.iter().filter(|chosen| matches!(chosen.setting.secret, Some((_, Half::File))));
    files
        .filter_map(|chosen| {
            let error = SecretSource::File((&chosen.value).into()).read().err()?;
            Some(Problem::at(&chosen.origin, error))
        })
        .collect()
}

fn notes(catalogue: &Catalogue, layers: &Layers, resolved: &Resolved<'_>) -> Vec<String> {
    // Kubernetes puts the names of services into the environment, so this is no fault.
    let unused = layers.unused_variables(catalogue).into_iter().map(|name| {
        let key = name[catalogue.program.prefix.len() + 1..].to_lowercase();
        let known = catalogue.settings.iter().map(|setting| setting.key.as_str());
        let meant = near(&key, known, 1).first().and_then(|key| catalogue.setting(key));
        let meant: Vec<_> = meant.iter().map(|setting| setting.variable.as_str()).collect();
        let question = did_you_mean(&meant);
        format!("{name} (environment): there is no such setting{question}")
    });
    let secrets = resolved.chosen.iter().filter_map(|chosen| match chosen.setting.secret? {
        (_, Half::File) => Some(chosen.value.as_str()),
        (_, Half::Text) => {
            layers.file.path.as_deref().and_then(Path::to_str).filter(|_| chosen.origin.is_file())
        }
    });
    let exposed = secrets.filter(|path| others_may_read(Path::new(path)));
    let exposed = exposed.map(|path| {
        format!("{path}: every user of this host can read the secret in it; run `chmod o-r {path}`")
    });
    unused.chain(exposed).collect()
}
