//! Which layer decides, what is refused and in which words, over a small program of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod demo;

use demo::{Demo, Rig, Verb};
use nexa_config::{EXIT_USAGE, SecretSource, Stop};

/// What `--port` is in the end.
fn port(rig: &Rig, words: &str) -> u16 {
    match rig.read(words).unwrap().verb {
        Verb::Serve(serve) => serve.port,
        Verb::Other { .. } => panic!("another command"),
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    for (flag, variable, file, wanted) in [
        (Some("1"), Some("2"), Some("3"), 1),
        (Some("1"), Some("2"), None, 1),
        (Some("1"), None, Some("3"), 1),
        (Some("1"), None, None, 1),
        (None, Some("2"), Some("3"), 2),
        (None, Some("2"), None, 2),
        (None, None, Some("3"), 3),
        (None, None, None, 80),
        (None, Some(""), Some("3"), 3),
    ] {
        let mut rig = Rig::complete();
        if let Some(value) = variable {
            rig.set("DEMO_PORT", value);
        }
        rig.file(&file.map(|value| format!("port = {value}\n")).unwrap_or_default());
        let flag = flag.map(|value| format!(" --port {value}")).unwrap_or_default();
        assert_eq!(port(&rig, &format!("serve{flag}")), wanted, "{flag} {variable:?} {file:?}");
    }
}

#[test]
fn a_setting_of_the_whole_program_works_before_and_after_the_command() {
    let mut rig = Rig::complete();
    let level = |rig: &Rig, words: &str| rig.read(words).unwrap().level;
    assert_eq!(level(&rig, "serve"), "info");
    rig.set("DEMO_LEVEL", "warn");
    for words in ["serve", "other"] {
        assert_eq!(level(&rig, words), "warn");
    }
    for words in ["--level debug serve", "serve --level debug"] {
        assert_eq!(level(&rig, words), "debug");
    }
}

#[test]
fn what_is_not_allowed_names_the_place_the_value_and_what_is_allowed() {
    let allowed = "`nine` is not allowed; allowed: a port from 1 to 65535";
    let rig = Rig::complete();
    assert_eq!(rig.refusal("serve --port nine"), format!("--port: {allowed}"));

    let mut rig = Rig::complete();
    rig.set("DEMO_PORT", "nine");
    assert_eq!(rig.refusal("serve"), format!("DEMO_PORT (environment): {allowed}"));
    assert_eq!(port(&rig, "serve --port 1"), 1, "a value that does not count is not judged");
    assert!(rig.read("other").is_ok(), "nor is one of another command");

    let mut rig = Rig::complete();
    rig.file("# a comment\n\nport = \"nine\"\n");
    assert_eq!(rig.refusal("serve"), format!("{}, line 3, port: {allowed}", rig.path().display()));

    let mut rig = Rig::complete();
    rig.set("DEMO_COLOUR", "blue");
    assert_eq!(rig.refusal("serve"), "DEMO_COLOUR (environment): `blue` is not allowed; allowed: red, green");
}

#[test]
fn all_that_is_wrong_below_the_flags_is_said_at_once() {
    let mut rig = Rig::default();
    rig.set("DEMO_PORT", "nine").set("DEMO_COLOUR", "blue");
    let text = rig.refusal("serve");
    for part in ["DEMO_PORT", "DEMO_COLOUR", "missing: --name, DEMO_NAME, or name in the file", "--key-file"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn empty_values_and_other_bytes_than_text_are_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let rig = Rig::complete();
    assert_eq!(rig.refusal("serve --port="), "--port: a value must follow");
    let mut rig = Rig::complete();
    rig.file("name = \"\"\n").unset("DEMO_NAME");
    assert!(rig.refusal("serve").contains("line 1, name: it is empty"), "{}", rig.refusal("serve"));
    let mut rig = Rig::complete();
    rig.inputs.environment.insert("DEMO_NAME".into(), std::ffi::OsString::from_vec(vec![b'a', 0xff]));
    assert_eq!(rig.refusal("serve"), "DEMO_NAME (environment): its value is not UTF-8 text");
}

#[test]
fn the_file_is_judged_strictly() {
    for (text, wanted) in [
        ("prot = 1", "line 1, prot: there is no such setting; did you mean port?"),
        ("\nnothing_like_it = 1", "line 2, nothing_like_it: there is no such setting"),
        ("port = [1]", "line 1, port: this is a list; a setting has one value; allowed: text in quotes"),
        ("port = 1.5", "line 1, port: this is a number with a point"),
        ("port = true", "line 1, port: this is true or false"),
        ("port = 0x50", "line 1, port: this is a number that is not decimal"),
        ("port = 1979-05-27", "line 1, port: this is a date or time"),
        ("[port]\na = 1", "line 1, port: this is a table; the file is flat"),
        ("port = 1\nport = 2", "line 2: this is no TOML: duplicate key"),
        ("\nport", "line 2: this is no TOML: "),
    ] {
        let mut rig = Rig::complete();
        rig.file(text);
        let refusal = rig.refusal("serve");
        let wanted = format!("{}, {wanted}", rig.path().display());
        assert!(refusal.starts_with(&wanted), "{wanted} is not how this begins: {refusal}");
    }
}

#[test]
fn the_file_may_hold_settings_of_other_commands() {
    let mut rig = Rig::complete();
    rig.file("port = \"nine\"\n");
    assert!(rig.read("other").is_ok());
}

#[test]
fn a_setting_that_one_command_requires_another_may_do_without() {
    assert!(matches!(Rig::default().read("other").unwrap().verb, Verb::Other { name: None, .. }));
    assert!(Rig::default().refusal("serve").contains("missing: --name"));
}

#[test]
fn what_a_command_is_asked_about_is_taken_from_its_flag_only() {
    let mut rig = Rig::default();
    rig.set("DEMO_ABOUT", "the environment");
    let about = |words| match rig.read(words).unwrap().verb {
        Verb::Other { about, .. } => about,
        Verb::Serve(_) => panic!("{words}"),
    };
    assert_eq!(about("other"), None);
    assert_eq!(about("other --about this").as_deref(), Some("this"));
    let mut rig = Rig::default();
    assert!(rig.file("about = \"the file\"\n").refusal("other").contains("there is no such setting"));
}

#[test]
fn the_file_is_the_named_one_or_else_the_usual_one_where_it_exists() {
    let mut rig = Rig::complete();
    rig.file("port = 3\n");
    let other = rig.write("other.toml", "port = 4\n");
    let other = other.to_str().unwrap();
    assert_eq!(port(&rig, "serve"), 3);
    assert_eq!(port(&rig, &format!("serve --config {other}")), 4);
    assert_eq!(port(&rig, "serve --config /dev/null"), 80);
    rig.set("DEMO_CONFIG", other);
    assert_eq!(port(&rig, "serve"), 4);
    assert_eq!(port(&rig, "--config /dev/null serve"), 80);

    std::fs::remove_file(rig.path()).unwrap();
    rig.set("DEMO_CONFIG", "");
    assert_eq!(port(&rig, "serve"), 80);
    rig.set("DEMO_CONFIG", "/nowhere/demo.toml");
    assert!(rig.refusal("serve").starts_with("/nowhere/demo.toml: cannot be read: "));
}

#[test]
fn help_names_the_other_layers_of_every_setting() {
    let rig = Rig::default();
    let Err(Stop::Answer(help)) = rig.read("serve --help") else { panic!() };
    for key in ["NAME", "PORT", "COLOUR", "KEY", "KEY_FILE", "LEVEL", "CONFIG"] {
        assert!(help.contains(&format!("DEMO_{key}")), "{key}: {help}");
    }
    assert!(help.contains("[file: key_file]") && help.contains("A flag beats the environment"), "{help}");
    assert!(!help.contains("--key <"), "a secret is no flag: {help}");
    assert!(!help.contains("DEMO_LOUD"), "a flag without a value is no setting");
}

#[test]
fn faults_of_the_command_line_itself_are_faults_too() {
    let rig = Rig::complete();
    for (words, part) in [
        ("serve --prot 1", "--port"),
        ("serve --port", "--port: a value must follow"),
        ("serve --port 1 --port 2", "--port"),
        ("srve", "srve"),
        ("", "Usage"),
        ("serve extra", "extra"),
    ] {
        assert!(rig.refusal(words).contains(part), "{words}: {}", rig.refusal(words));
    }
    let exit = Stop::Invalid("text".to_owned()).tell(&demo::PROGRAM);
    assert_eq!(format!("{exit:?}"), format!("{:?}", std::process::ExitCode::from(EXIT_USAGE)));
}

#[test]
fn a_secret_comes_from_the_highest_layer_that_has_it_in_either_way() {
    let key = |rig: &Rig, words: &str| match rig.read(words).unwrap() {
        Demo { verb: Verb::Serve(serve), .. } => serve.key().unwrap(),
        _ => panic!("another command"),
    };
    let text = |text: &str| SecretSource::Text(text.to_owned().into());
    let mut rig = Rig::complete();
    let from_file = SecretSource::File(rig.write("key", "in-a-file\n"));
    let path = from_file.file().unwrap().display().to_string();
    rig.file("key = \"in-the-settings\"\n").unset("DEMO_KEY");
    assert_eq!(key(&rig, "serve"), text("in-the-settings"));
    rig.set("DEMO_KEY_FILE", &path);
    assert_eq!(key(&rig, "serve"), from_file);
    rig.unset("DEMO_KEY_FILE").set("DEMO_KEY", "in-the-environment");
    assert_eq!(key(&rig, "serve"), text("in-the-environment"));
    assert_eq!(key(&rig, &format!("serve --key-file {path}")), from_file);
    assert_eq!(from_file.read().unwrap().expose(), "in-a-file");

    rig.set("DEMO_KEY_FILE", &path);
    let contradiction = "DEMO_KEY (environment): contradicts DEMO_KEY_FILE (environment); set one of the two";
    assert_eq!(rig.refusal("serve"), contradiction);
    assert_eq!(key(&rig, &format!("serve --key-file {path}")), from_file, "a higher layer settles it");
}

#[test]
fn a_secret_s_file_is_there_and_not_empty() {
    let rig = Rig::complete();
    let empty = rig.write("empty", "\n");
    let text = rig.refusal(&format!("serve --key-file {}", empty.display()));
    assert_eq!(text, format!("--key-file: {} is empty; it must hold the secret", empty.display()));
    let text = rig.refusal("serve --key-file /nowhere/key");
    assert!(text.starts_with("--key-file: /nowhere/key cannot be read: "), "{text}");
    let two = SecretSource::File(rig.write("two", "a\n\n"));
    assert_eq!(two.read().unwrap().expose(), "a\n", "one newline at the end does not count");
}

#[test]
fn a_secret_is_in_no_output() {
    const CANARY: &str = "canary-of-a-secret";
    let mut outputs = Vec::new();
    let mut rig = Rig::complete();
    rig.set("DEMO_KEY", CANARY);
    let demo = rig.read("serve").unwrap();
    outputs.push(format!("{demo:?} {demo:#?}"));
    let Err(Stop::Answer(report)) = rig.read("config check") else { panic!() };
    assert!(report.contains("(set, hidden)"), "{report}");
    outputs.push(report);
    outputs.push(rig.refusal("serve --port nine"));
    outputs.push(rig.refusal(&format!("serve --key {CANARY}")));
    assert!(outputs.last().unwrap().contains("--key-file FILE"), "{outputs:?}");
    rig.set("DEMO_KEY_FILE", "/nowhere");
    outputs.push(rig.refusal("serve"));
    rig.unset("DEMO_KEY_FILE").set("DEMO_KEY", &format!("!{CANARY}"));
    outputs.push(rig.refusal("serve"));
    assert!(outputs.last().unwrap().contains("its value (hidden) is not allowed"), "{outputs:?}");
    for text in
        [format!("key = \"{CANARY}\nport = 1"), format!("key = {CANARY}"), format!("key = [\"{CANARY}\"]")]
    {
        rig.unset("DEMO_KEY").file(&text);
        outputs.push(rig.refusal("serve"));
    }
    for output in outputs {
        assert!(!output.contains(CANARY), "{output}");
    }
}
