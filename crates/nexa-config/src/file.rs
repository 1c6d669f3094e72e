//! The file: TOML, flat, each key a setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::catalogue::Catalogue;
use crate::near::{did_you_mean, near};
use crate::problem::{Origin, Problem};

/// What a file holds.
#[derive(Debug, Default)]
pub struct FileLayer {
    /// The file, where there is one.
    pub path: Option<PathBuf>,
    values: BTreeMap<String, (Origin, String)>,
}

impl FileLayer {
    /// Reads a file.
    pub fn read(path: &Path, catalogue: &Catalogue) -> Result<Self, Vec<Problem>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text, catalogue),
            Err(error) => Err(vec![Problem::at(&path.display(), format_args!("cannot be read: {error}"))]),
        }
    }

    fn parse(path: &Path, text: &str, catalogue: &Catalogue) -> Result<Self, Vec<Problem>> {
        let line_at = |offset: usize| 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let line = line_at(error.span().map_or(0, |span| span.start));
            let place = format!("{}, line {line}", path.display());
            // The message never quotes the file's text, which may hold a secret.
            vec![Problem::at(&place, format_args!("this is no TOML: {}", error.message().replace('\n', " ")))]
        })?;
        let mut layer = Self { path: Some(path.to_owned()), values: BTreeMap::new() };
        let mut problems = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            let origin =
                Origin::File { path: path.to_owned(), line: line_at(key.span().start), key: name.to_owned() };
            if catalogue.setting(name).is_none() {
                let known = catalogue.settings.iter().map(|setting| setting.key.as_str());
                let question = did_you_mean(&near(name, known, 1));
                problems.push(Problem::at(&origin, format_args!("there is no such setting{question}")));
                continue;
            }
            match scalar(value.get_ref()) {
                Ok(text) => drop(layer.values.insert(name.to_owned(), (origin, text))),
                Err(what) => problems.push(Problem::at(&origin, what)),
            }
        }
        if problems.is_empty() { Ok(layer) } else { Err(problems) }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<(Origin, String)> {
        self.values.get(key).cloned()
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    let found = match value {
        DeValue::String(text) => return Ok(text.as_ref().to_owned()),
        DeValue::Integer(number) if number.radix() == 10 => return Ok(number.as_str().to_owned()),
        DeValue::Integer(_) => "a number that is not decimal",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list; a setting has one value",
        DeValue::Table(_) => "a table; the file is flat",
    };
    Err(format!("this is {found}; allowed: text in quotes, or a whole number"))
}
