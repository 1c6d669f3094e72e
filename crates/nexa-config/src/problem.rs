//! What is wrong with a setting, and where it stands.

use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::catalogue::{Catalogue, Setting};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(String),
    /// A variable of the environment.
    Environment(String),
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key there.
        key: String,
    },
}

impl Origin {
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    pub const fn is_flag(&self) -> bool {
        matches!(self, Self::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(variable) => write!(f, "{variable} (environment)"),
            Self::File { path, line, key } => write!(f, "{}, line {line}, {key}", path.display()),
        }
    }
}

/// One fault, in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Problem {
    /// Something is wrong at a place.
    pub fn at(origin: &dyn fmt::Display, what: impl fmt::Display) -> Self {
        Self(format!("{origin}: {what}"))
    }

    /// A setting that has to be set is not.
    pub fn missing(ways: impl fmt::Display) -> Self {
        Self(format!("missing: {ways}"))
    }

    /// A value that its flag's parser refused.
    pub fn refused(setting: &Setting, origin: &Origin, value: &str, error: &clap::Error) -> Self {
        if setting.is_hidden() {
            // The parser's own words may hold the value.
            return Self::at(origin, "its value (hidden) is not allowed");
        }
        Self::at(origin, format_args!("`{value}` is not allowed; allowed: {}", allowed(error)))
    }

    /// What `clap` says of the command line.
    pub fn of_flag(error: &clap::Error, catalogue: &Catalogue) -> Self {
        let key = text(error, ContextKind::InvalidArg);
        let flag = key.as_deref().and_then(|key| key.split(' ').next()).unwrap_or_default();
        let setting = catalogue.settings.iter().find(|setting| setting.flag == flag);
        match (error.kind(), text(error, ContextKind::InvalidValue)) {
            (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(value)) if !value.is_empty() => {
                let origin = Origin::Flag(flag.to_owned());
                match setting {
                    Some(setting) => Self::refused(setting, &origin, &value, error),
                    None => Self::at(
                        &origin,
                        format_args!("`{value}` is not allowed; allowed: {}", allowed(error)),
                    ),
                }
            }
            (ErrorKind::ValueValidation | ErrorKind::InvalidValue, _) => {
                Self::at(&flag, "a value must follow")
            }
            (ErrorKind::InvalidUtf8, _) => Self("the command line is not UTF-8 text".to_owned()),
            _ => Self(error.render().to_string().trim_end().trim_start_matches("error: ").to_owned()),
        }
    }
}

fn allowed(error: &clap::Error) -> String {
    let allowed = text(error, ContextKind::ValidValue).or_else(|| {
        let source = std::error::Error::source(error)?;
        Some(source.to_string().replace('\n', " "))
    });
    allowed.filter(|allowed| !allowed.is_empty()).unwrap_or_else(|| "a value".to_owned())
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        _ => None,
    }
}
