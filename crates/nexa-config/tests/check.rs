//! `config check`, over the same small program.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[expect(dead_code, reason = "the tests of the layers use all of it")]
mod demo;

use std::os::unix::fs::PermissionsExt as _;

use demo::Rig;
use nexa_config::Stop;

fn chmod(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn answer(rig: &Rig, words: &str) -> String {
    match rig.read(words) {
        Err(Stop::Answer(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_setting_has_its_value_and_its_layer() {
    let mut rig = Rig::complete();
    rig.file("colour = \"red\"\n");
    chmod(rig.path(), 0o600);
    let file = rig.path().display().to_string();
    let wanted = format!(
        "name      n              DEMO_NAME (environment)\n\
         port      8080           --port\n\
         colour    red            {file}, line 1, colour\n\
         key       (set, hidden)  DEMO_KEY (environment)\n\
         key_file  –              not set\n\
         level     info           default\n\
         file: {file}\n"
    );
    assert_eq!(answer(&rig, "config check --port 8080"), wanted);
}

#[test]
fn names_that_nothing_uses_and_secrets_that_all_can_read_are_noted() {
    let mut rig = Rig::complete();
    rig.set("DEMO_PROT", "1").set("DEMO_SERVICE_HOST", "10.0.0.1").set("OTHER_PORT", "1").unset("DEMO_KEY");
    let key = rig.write("key", "k");
    chmod(&key, 0o644);
    rig.set("DEMO_KEY_FILE", key.to_str().unwrap());
    let text = answer(&rig, "config check");
    let notes: Vec<_> = text.lines().filter(|line| line.starts_with('!')).collect();
    assert_eq!(
        notes,
        [
            "! DEMO_PROT (environment): there is no such setting; did you mean DEMO_PORT?",
            "! DEMO_SERVICE_HOST (environment): there is no such setting",
            &format!(
                "! {0}: every user of this host can read the secret in it; run `chmod o-r {0}`",
                key.display()
            ),
        ]
    );
    chmod(&key, 0o640);
    assert!(!answer(&rig, "config check").contains("chmod"));

    rig.unset("DEMO_KEY_FILE").file("key = \"k\"\n");
    chmod(rig.path(), 0o604);
    assert!(answer(&rig, "config check").contains(&format!("chmod o-r {}", rig.path().display())));
}

#[test]
fn all_faults_are_listed_and_make_it_fail() {
    let mut rig = Rig::default();
    rig.set("DEMO_PORT", "nine");
    let Err(Stop::Faults(text)) = rig.read("config check") else { panic!() };
    let faults = text.lines().filter(|line| line.starts_with('✗')).count();
    assert_eq!(faults, 3, "{text}");

    rig.file("prot = 1\ncolor = 2\n");
    let Err(Stop::Faults(text)) = rig.read("config check") else { panic!() };
    assert!(text.contains("did you mean port?") && text.contains("did you mean colour?"), "{text}");
}
