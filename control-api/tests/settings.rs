//! Every setting of the control plane, through every layer.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::process::Command as Process;

use clap::CommandFactory as _;
use nexa_config::{Inputs, Stop, read};
use nexa_control::config::{Cli, Command, PROGRAM};

/// Each setting with a value that is not its default.
const SAMPLES: [(&str, &str); 8] = [
    ("listen", "[::1]:1"),
    ("web_dir", "/usr/share/web"),
    ("trusted_proxies", "10.0.0.0/8,fd00::1"),
    ("database_url", "postgres://nexa:canary@localhost/nexa"),
    ("database_url_file", "/dev/null"),
    ("database_connections", "5"),
    ("log_format", "json"),
    ("log_filter", "debug"),
];

struct Rig {
    _folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let default_file = folder.path().join("control.toml");
        let inputs = Inputs { arguments: Vec::new(), environment: Default::default(), default_file };
        Self { _folder: folder, inputs }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.inputs.environment.insert(variable(key).into(), value.into());
    }

    fn read(&self, words: &[&str]) -> Result<Cli, Stop> {
        let arguments = std::iter::once(&"nexa-control").chain(words).map(Into::into).collect();
        read(&PROGRAM, &Inputs { arguments, ..self.inputs.clone() })
    }

    fn database_url(&self, words: &[&str]) -> String {
        match self.read(words).unwrap().command {
            Command::Serve(args) => args.database.database().unwrap().url,
            Command::Migrate(args) | Command::Bootstrap(args) => args.database().unwrap().url,
            other => panic!("{other:?}"),
        }
    }
}

fn variable(key: &str) -> String {
    format!("NEXA_CONTROL_{}", key.to_uppercase())
}

#[test]
fn every_setting_has_its_flag_its_variable_and_its_key() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let known = serve.get_arguments().chain(command.get_arguments());
    let known: Vec<_> = known.map(|arg| arg.get_long().unwrap().replace('-', "_")).collect();
    assert_eq!(known, SAMPLES.map(|(key, _)| key.to_owned()), "a setting without a sample");

    for (key, value) in SAMPLES {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "postgres://localhost\n").unwrap();
        let value = if key == "database_url_file" { file.path().to_str().unwrap() } else { value };
        let shown = if key == "database_url" { "(set, hidden)" } else { value };
        let mut seen = Vec::new();
        for layer in ["flag", "variable", "key"] {
            let mut rig = Rig::new();
            if !key.starts_with("database_url") {
                rig.set("database_url", "postgres://localhost");
            }
            let flag = format!("--{}={value}", key.replace('_', "-"));
            let mut words = vec!["serve"];
            match layer {
                "flag" => words.push(&flag),
                "variable" => rig.set(key, value),
                _ => std::fs::write(&rig.inputs.default_file, format!("{key} = \"{value}\"\n")).unwrap(),
            }
            seen.push(format!("{:?} {}", rig.read(&words).unwrap(), rig.database_url(&words)));
            words.splice(..1, ["config", "check"]);
            let Err(Stop::Answer(report)) = rig.read(&words) else { panic!() };
            let row = report.lines().find(|line| line.split(' ').next() == Some(key)).unwrap();
            assert!(row.contains(shown) && !row.ends_with("default"), "{layer}: {row}");
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{key}: {seen:?}");
    }
}

#[test]
fn the_database_s_password_is_not_shown() {
    let mut rig = Rig::new();
    rig.set("database_url", "postgres://nexa:canary@localhost/nexa");
    let cli = rig.read(&["serve"]).unwrap();
    let Command::Serve(args) = &cli.command else { panic!() };
    let shown = format!("{cli:?} {:?}", args.database.database().unwrap());
    assert!(shown.contains("hidden") && !shown.contains("canary"), "{shown}");
}

#[test]
fn values_are_refused_with_what_is_allowed() {
    let mut rig = Rig::new();
    rig.set("database_url", "postgres://localhost");
    for (flag, value, allowed) in [
        ("--listen", "8080", "127.0.0.1:8080"),
        ("--database-connections", "1", "from 4 to 1000"),
        ("--trusted-proxies", "proxy.example", "10.0.0.1,fd00::/8"),
        ("--log-format", "xml", "text, json"),
        ("--log-filter", "loud=very", "debug"),
    ] {
        let Err(Stop::Invalid(text)) = rig.read(&["serve", flag, value]) else { panic!() };
        let wanted = format!("{flag}: `{value}` is not allowed; allowed: ");
        assert!(text.starts_with(&wanted) && text.contains(allowed), "{text}");
    }
}

#[test]
fn what_needs_no_database_asks_for_none() {
    assert!(Rig::new().read(&["openapi"]).is_ok());
    assert!(
        matches!(Rig::new().read(&["migrate"]), Err(Stop::Invalid(text)) if text.contains("DATABASE_URL_FILE"))
    );
}

#[test]
fn help_names_every_variable() {
    let Err(Stop::Answer(help)) = Rig::new().read(&["serve", "--help"]) else { panic!() };
    for (key, _) in SAMPLES {
        assert!(help.contains(&variable(key)), "{key}: {help}");
    }
}

#[test]
fn the_program_ends_with_64_and_the_place_of_the_fault() {
    let output = Process::new(env!("CARGO_BIN_EXE_nexa-control"))
        .args(["serve", "--database-url-file", "/nowhere/url"])
        .env_clear()
        .env("NEXA_CONTROL_CONFIG", "/dev/null")
        .env("NEXA_CONTROL_DATABASE_CONNECTIONS", "many")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("NEXA_CONTROL_DATABASE_CONNECTIONS (environment): `many` is not allowed"),
        "{text}"
    );
    assert!(text.contains("--database-url-file: /nowhere/url cannot be read"), "{text}");
}
