//! One value for each setting, from the highest layer that has one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::catalogue::{CONFIG, Catalogue, Half, Setting};
use crate::file::FileLayer;
use crate::problem::{Origin, Problem};
use crate::{FileRead, Inputs, SecretSource};

/// The command line, read without the other layers.
pub struct FlagLayer {
    path: Vec<String>,
    values: BTreeMap<String, OsString>,
}

impl FlagLayer {
    pub fn new(matches: ArgMatches) -> Self {
        let mut layer = Self { path: Vec::new(), values: BTreeMap::new() };
        let mut level = &matches;
        loop {
            for id in level.ids().map(clap::Id::as_str) {
                // Groups have ids too, but no values of their own.
                let is_flag = level.value_source(id) == Some(ValueSource::CommandLine);
                let value = level.try_get_raw(id).ok().flatten().and_then(|mut values| values.next_back());
                if let (true, Some(value)) = (is_flag, value) {
                    layer.values.insert(id.to_owned(), value.to_owned());
                }
            }
            let Some((name, next)) = level.subcommand() else { return layer };
            layer.path.push(name.to_owned());
            level = next;
        }
    }

    /// The names of the command and what it is below.
    pub fn command(&self) -> &[String] {
        &self.path
    }
}

/// All layers below the defaults.
#[derive(Debug)]
pub struct Layers {
    flags: BTreeMap<String, OsString>,
    environment: BTreeMap<OsString, OsString>,
    pub file: FileLayer,
}

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    pub setting: &'a Setting,
    pub origin: Origin,
    pub value: String,
}

/// What the layers give for some settings.
#[derive(Debug, Default)]
pub struct Resolved<'a> {
    pub chosen: Vec<Chosen<'a>>,
    pub problems: Vec<Problem>,
}

impl Layers {
    /// Reads the file too.
    pub fn read(catalogue: &Catalogue, flags: &FlagLayer, inputs: &Inputs) -> Result<Self, Vec<Problem>> {
        let variable = inputs.environment.get(&OsString::from(catalogue.config_variable()));
        let named = flags.values.get(CONFIG).or(variable.filter(|value| !value.is_empty()));
        let file = match named {
            Some(path) => FileLayer::read(&PathBuf::from(path), catalogue)?,
            // One that cannot be looked at is not silently passed over.
            None if inputs.default_file.try_exists().unwrap_or(true) => {
                FileLayer::read(&inputs.default_file, catalogue)?
            }
            None => FileLayer::default(),
        };
        Ok(Self { flags: flags.values.clone(), environment: inputs.environment.clone(), file })
    }

    /// Decides and checks every one of a command's settings, and says all that is wrong.
    pub fn resolve<'a>(&self, settings: &'a [Setting], command: &[String]) -> Resolved<'a> {
        let mut resolved = Resolved::default();
        for setting in settings {
            let other = other_half(setting, settings);
            match self.choose(setting, other) {
                Ok(Some(chosen)) => resolved.take(chosen),
                Ok(None) if is_missing(setting) => resolved.problems.push(Problem::missing(setting.ways())),
                Ok(None) => {}
                Err(problem) => resolved.problems.push(problem),
            }
        }
        for setting in settings {
            let Some((secret, Half::Text)) = setting.secret else { continue };
            let needed = command.first().is_some_and(|name| secret.needed_by.contains(&name.as_str()));
            let decided = [Some(setting), other_half(setting, settings)].into_iter().flatten();
            // One that contradicts itself is there, and has its own message.
            let absent = decided.clone().all(|half| !self.has(half));
            if needed && absent {
                let ways: Vec<_> = decided.map(Setting::ways).collect();
                resolved.problems.push(Problem::missing(ways.join("; or ")));
            }
        }
        resolved
    }

    fn has(&self, setting: &Setting) -> bool {
        (0..LAYERS).any(|layer| !matches!(self.get(layer, setting), Ok(None)))
    }

    /// The value of the highest layer that has the setting or the secret's other half.
    fn choose<'a>(
        &self,
        setting: &'a Setting,
        other: Option<&Setting>,
    ) -> Result<Option<Chosen<'a>>, Problem> {
        for layer in 0..LAYERS {
            let here = self.get(layer, setting)?;
            let there = match other {
                Some(other) => self.get(layer, other).ok().flatten(),
                None => None,
            };
            match (here, there) {
                (Some((origin, value)), None) => return Ok(Some(Chosen { setting, origin, value })),
                // Said once, for the half that holds the secret.
                (Some((origin, _)), Some((other, _))) if setting.is_hidden() => {
                    return Err(Problem::at(
                        &origin,
                        format_args!("contradicts {other}; set one of the two"),
                    ));
                }
                (Some(_) | None, Some(_)) => return Ok(None),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    fn get(&self, layer: usize, setting: &Setting) -> Result<Option<(Origin, String)>, Problem> {
        match layer {
            0 => {
                let Some(value) = self.flags.get(setting.arg.get_id().as_str()) else { return Ok(None) };
                let origin = Origin::Flag(setting.flag.clone());
                if !setting.has_flag() {
                    let what = "everybody on this host can read the command line; make a new one, and put it into a file:";
                    return Err(Problem::at(&origin, format_args!("{what} {}-file FILE", setting.flag)));
                }
                not_empty(&origin, value.to_string_lossy().into_owned()).map(|value| Some((origin, value)))
            }
            1 => {
                let value = self.environment.get(&OsString::from(&setting.variable));
                // Compose files and units leave a variable empty to say that it is not set.
                let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
                let origin = Origin::Environment(setting.variable.clone());
                match value.clone().into_string() {
                    Ok(value) => Ok(Some((origin, value))),
                    Err(_) => Err(Problem::at(&origin, "its value is not UTF-8 text")),
                }
            }
            _ => match self.file.get(&setting.key) {
                Some((origin, value)) => not_empty(&origin, value).map(|value| Some((origin, value))),
                None => Ok(None),
            },
        }
    }

    /// Names of the environment that look like settings of this program and are none.
    pub fn unused_variables(&self, catalogue: &Catalogue) -> Vec<String> {
        let prefix = format!("{}_", catalogue.program.prefix);
        let names = self.environment.keys().filter_map(|name| name.to_str());
        let unused = names.filter(|name| name.starts_with(&prefix) && **name != catalogue.config_variable());
        unused
            .filter(|name| catalogue.settings.iter().all(|setting| setting.variable != *name))
            .map(str::to_owned)
            .collect()
    }
}

/// Flags, environment, file.
const LAYERS: usize = 3;

impl<'a> Resolved<'a> {
    fn take(&mut self, chosen: Chosen<'a>) {
        let Chosen { setting, origin, value } = &chosen;
        if let Err(error) = parse_alone(setting, value) {
            self.problems.push(Problem::refused(setting, origin, value, &error));
            return;
        }
        if let Some((secret, Half::File)) = setting.secret
            && secret.file_read == FileRead::AtStart
            && let Err(error) = SecretSource::File(value.into()).read()
        {
            self.problems.push(Problem::at(origin, error));
            return;
        }
        self.chosen.push(chosen);
    }
}

fn is_missing(setting: &Setting) -> bool {
    setting.arg.is_required_set() && setting.arg.get_default_values().is_empty()
}

fn other_half<'a>(setting: &Setting, settings: &'a [Setting]) -> Option<&'a Setting> {
    let (secret, half) = setting.secret?;
    settings
        .iter()
        .find(|other| other.secret.is_some_and(|(same, other)| same.name == secret.name && other != half))
}

fn not_empty(origin: &Origin, value: String) -> Result<String, Problem> {
    if value.is_empty() {
        return Err(Problem::at(origin, "it is empty; leave it out to get the default"));
    }
    Ok(value)
}

/// Lets the flag's own parser judge a value of any layer.
fn parse_alone(setting: &Setting, value: &str) -> Result<(), clap::Error> {
    let arg = setting.arg.clone().required(false).global(false);
    let command = Command::new("setting").no_binary_name(true).disable_help_flag(true).arg(arg);
    command.try_get_matches_from([format!("{}={value}", setting.flag)]).map(drop)
}
