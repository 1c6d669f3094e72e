//! Which settings there are: the flags of a command line, seen as keys of the other layers.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::layers::Chosen;
use crate::{Program, SecretDeclaration, SecretFlag, check};

/// The flag that names the file.
pub const CONFIG: &str = "config";

/// One setting, with all its names.
#[derive(Clone, Debug)]
pub struct Setting {
    /// In the file: `metrics_listen`.
    pub key: String,
    /// On the command line: `--metrics-listen`.
    pub flag: String,
    /// In the environment: `NEXA_GATEWAY_METRICS_LISTEN`.
    pub variable: String,
    /// The secret that it is, or whose file it names.
    pub secret: Option<(SecretDeclaration, Half)>,
    /// The flag itself, to check values with.
    pub arg: Arg,
}

/// A secret comes in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The secret.
    Text,
    /// The name of a file with the secret.
    File,
}

impl Setting {
    fn of(arg: &Arg, program: &Program) -> Option<Self> {
        // Flags without a value belong to one command and are no settings.
        let is_setting = matches!(arg.get_action(), ArgAction::Set) && arg.get_id() != CONFIG;
        let long = arg.get_long().filter(|long| is_setting && !program.arguments.contains(long))?;
        let key = long.replace('-', "_");
        let secret = program.secrets.iter().find_map(|secret| {
            let rest = key.strip_prefix(secret.name)?;
            let half = match rest {
                "" => Half::Text,
                "_file" => Half::File,
                _ => return None,
            };
            Some((*secret, half))
        });
        let variable = format!("{}_{}", program.prefix, key.to_uppercase());
        Some(Self { flag: format!("--{long}"), variable, secret, arg: arg.clone(), key })
    }

    /// Whether its value must not be shown.
    pub fn is_hidden(&self) -> bool {
        matches!(self.secret, Some((_, Half::Text)))
    }

    /// Whether it may stand on the command line.
    pub fn has_flag(&self) -> bool {
        !matches!(self.secret, Some((SecretDeclaration { flag: SecretFlag::Refused, .. }, Half::Text)))
    }

    /// All ways to set it.
    pub fn ways(&self) -> String {
        let others = format!("{}, or {} in the file", self.variable, self.key);
        if self.has_flag() { format!("{}, {others}", self.flag) } else { others }
    }
}

/// A program's command line and its settings.
#[derive(Debug)]
pub struct Catalogue {
    pub program: Program,
    command: Command,
    /// Those of every command, each once.
    pub settings: Vec<Setting>,
}

impl Catalogue {
    /// Adds to a command line what every program has: `--config`, `config check`, and the other layers in its help.
    pub fn new(command: Command, program: &Program) -> Self {
        let mut settings = Vec::new();
        collect(&command, program, &mut settings);
        let command = everywhere(command, &|arg| describe(arg, program));
        let footer = footer(program, &settings);
        let command = check::add(command, program).arg(config_flag(program));
        let command = help_below(command, &footer);
        Self { program: *program, command, settings }
    }

    /// The name of the environment variable that names the file.
    pub fn config_variable(&self) -> String {
        config_variable(&self.program)
    }

    /// The setting of a key.
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// The settings of the command at a path, in the order of its help; those of the whole program last. One that
    /// several commands have may be required by some of them only.
    pub fn settings_of(&self, path: &[String]) -> Vec<Setting> {
        let mut commands = vec![&self.command];
        for name in path {
            commands.extend(commands.last().and_then(|command| command.find_subcommand(name)));
        }
        let args = commands.into_iter().rev().flat_map(Command::get_arguments);
        args.filter_map(|arg| Setting::of(arg, &self.program)).collect()
    }

    /// The command line with nothing required.
    pub fn optional(&self) -> Command {
        everywhere(self.command.clone(), &|arg| arg.required(false))
    }

    /// The command line with values of lower layers in place of its defaults. Each of them was checked before.
    pub fn with_defaults(&self, chosen: &[Chosen<'_>]) -> Command {
        everywhere(self.command.clone(), &|arg| {
            let lower = chosen.iter().find(|chosen| chosen.setting.arg.get_id() == arg.get_id());
            match lower.filter(|chosen| !chosen.origin.is_flag()) {
                Some(chosen) => arg.required(false).default_value(chosen.value.clone()),
                None => arg,
            }
        })
    }
}

fn config_variable(program: &Program) -> String {
    format!("{}_CONFIG", program.prefix)
}

fn collect(command: &Command, program: &Program, settings: &mut Vec<Setting>) {
    for setting in command.get_arguments().filter_map(|arg| Setting::of(arg, program)) {
        if settings.iter().all(|known| known.key != setting.key) {
            settings.push(setting);
        }
    }
    for subcommand in command.get_subcommands() {
        collect(subcommand, program, settings);
    }
}

fn everywhere(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|subcommand| everywhere(subcommand, change))
}

fn describe(arg: Arg, program: &Program) -> Arg {
    let Some(setting) = Setting::of(&arg, program) else { return arg };
    let names = format!("[env: {}] [file: {}]", setting.variable, setting.key);
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if setting.has_flag() { arg.help(format!("{help}\n{names}")) } else { arg.hide(true) }
}

fn help_below(command: Command, footer: &str) -> Command {
    command.after_help(footer.to_owned()).mut_subcommands(|subcommand| help_below(subcommand, footer))
}

fn config_flag(program: &Program) -> Arg {
    let help = format!(
        "File with settings; /dev/null for none [env: {}] [default: {}, where it exists]",
        config_variable(program),
        program.default_file
    );
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(clap::value_parser!(OsString))
        .global(true)
        .help(help)
}

fn footer(program: &Program, settings: &[Setting]) -> String {
    let flagless = settings.iter().filter(|setting| !setting.has_flag());
    let flagless: String = flagless
        .map(|setting| {
            format!("\nNot as a flag, which everybody on the host could read: {}.", setting.ways())
        })
        .collect();
    format!(
        "A flag beats the environment, the environment beats the file, the file beats the default. A variable that is\n\
         empty counts as unset. The file is TOML, one `key = \"value\"` a line; it may hold settings of every command.\n\
         `{} config check` prints each setting, its value and where that comes from.{flagless}",
        program.name
    )
}
