//! A small program, and what it is started with.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nexa_config::{
    FileRead, Inputs, Program, Secret, SecretDeclaration, SecretFlag, SecretSource, Stop, read,
};

pub const PROGRAM: Program = Program {
    name: "demo",
    prefix: "DEMO",
    default_file: "/etc/demo.toml",
    main_command: "serve",
    secrets: &[SecretDeclaration {
        name: "key",
        flag: SecretFlag::Refused,
        file_read: FileRead::AtStart,
        needed_by: &["serve"],
    }],
    arguments: &["about"],
};

#[derive(Debug, Parser)]
pub struct Demo {
    #[command(subcommand)]
    pub verb: Verb,
    /// How much is said
    #[arg(long, default_value = "info", global = true)]
    pub level: String,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Serve(Serve),
    Other {
        #[arg(long)]
        name: Option<String>,
        /// What is asked
        #[arg(long)]
        about: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Serve {
    #[arg(long)]
    pub name: String,
    /// Where to listen
    #[arg(long, default_value = "80", value_parser = port)]
    pub port: u16,
    #[arg(long, value_enum)]
    pub colour: Option<Colour>,
    #[arg(long, value_parser = secret)]
    key: Option<Secret>,
    #[arg(long)]
    key_file: Option<PathBuf>,
    #[arg(long)]
    pub loud: bool,
}

impl Serve {
    pub fn key(&self) -> Option<SecretSource> {
        SecretSource::of(self.key.clone(), self.key_file.clone())
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Colour {
    Red,
    Green,
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port != 0).ok_or("a port from 1 to 65535")
}

/// One that repeats what it refuses.
fn secret(text: &str) -> Result<Secret, String> {
    if text.starts_with('!') { Err(format!("not {text}")) } else { Ok(text.to_owned().into()) }
}

/// What the program is started with: a folder of its own, nothing of this process.
pub struct Rig {
    folder: tempfile::TempDir,
    pub inputs: Inputs,
}

impl Default for Rig {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let default_file = folder.path().join("demo.toml");
        Self {
            folder,
            inputs: Inputs { arguments: Vec::new(), environment: Default::default(), default_file },
        }
    }
}

impl Rig {
    /// With everything that `serve` needs.
    pub fn complete() -> Self {
        let mut rig = Self::default();
        rig.set("DEMO_NAME", "n").set("DEMO_KEY", "k");
        rig
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.inputs.environment.insert(name.into(), value.into());
        self
    }

    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.inputs.environment.remove(std::ffi::OsStr::new(name));
        self
    }

    /// Writes the usual file.
    pub fn file(&mut self, text: &str) -> &mut Self {
        std::fs::write(self.path(), text).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        &self.inputs.default_file
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, words: &str) -> Result<Demo, Stop> {
        let arguments = std::iter::once("demo").chain(words.split_whitespace()).map(Into::into).collect();
        read(&PROGRAM, &Inputs { arguments, ..self.inputs.clone() })
    }

    pub fn refusal(&self, words: &str) -> String {
        match self.read(words) {
            Err(Stop::Invalid(text)) => text,
            other => panic!("{words}: {other:?}"),
        }
    }
}
