//! What is left of a lab that was killed, interrupted, or whose state is bad (root).

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nexa_lab::{
    folder::Folder,
    ledger::{self, State},
    namespace, process,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A lab whose control-api never serves, so that it stays half started.
struct HalfLab {
    _root: tempfile::TempDir,
    folder: Folder,
    up: Child,
}

impl HalfLab {
    fn start() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["nexa-control", "nexa-gateway"] {
            let path = root.path().join(name);
            fs::write(&path, "#!/bin/sh\nexec sleep 600\n").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
        }
        let folder = Folder::open(&root.path().join("lab")).expect("a folder");
        let up = lab("up", &folder)
            .arg("--bin-dir")
            .arg(root.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        let lab = Self { _root: root, folder, up };
        wait("control-api's stand-in to start", || {
            lab.state().is_some_and(|state| state.processes.iter().any(|process| process.name == "control"))
        });
        lab
    }

    fn state(&self) -> Option<State> {
        ledger::read(&self.folder.state()).expect("readable")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.up.id()).expect("a pid")), signal).expect("sent");
    }
}

fn lab(verb: &str, folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexa-lab"));
    command.arg(verb).arg("--dir").arg(folder.root()).stdin(Stdio::null());
    command
}

fn down(folder: &Folder) -> Output {
    lab("down", folder).output().expect("started")
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Everything that the state names is gone.
fn assert_clean(state: &State, folder: &Folder) {
    assert!(!state.namespaces.is_empty() && !state.processes.is_empty() && !state.folders.is_empty());
    for name in &state.namespaces {
        assert!(!namespace::exists(name), "{name} is left");
    }
    for recorded in &state.processes {
        assert!(!process::is_running(recorded), "{} is left", recorded.name);
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    for path in state.mounts.iter().chain(&state.folders) {
        assert!(!path.exists(), "{} is left", path.display());
        assert!(!mounts.contains(&format!("{} ", path.display())), "{} is mounted", path.display());
    }
    assert!(!folder.state().exists() && fs::symlink_metadata(folder.root().join("state.json")).is_err());
}

#[test]
fn down_cleans_after_a_killed_lab() {
    let mut lab = HalfLab::start();
    let state = lab.state().expect("a state");
    lab.signal(Signal::SIGKILL);
    lab.up.wait().expect("ended");
    assert!(state.processes.iter().any(process::is_running), "a killed lab leaves its processes");
    let output = down(&lab.folder);
    assert!(output.status.success(), "{output:?}");
    assert_clean(&state, &lab.folder);
    let again = down(&lab.folder);
    assert!(String::from_utf8_lossy(&again.stdout).contains("no lab was running"), "{again:?}");
}

#[test]
fn a_signal_tears_the_lab_down() {
    let mut lab = HalfLab::start();
    let state = lab.state().expect("a state");
    lab.signal(Signal::SIGTERM);
    assert!(!lab.up.wait().expect("ended").success());
    assert_clean(&state, &lab.folder);
}

#[test]
fn down_ends_a_lab_that_runs() {
    let mut lab = HalfLab::start();
    let state = lab.state().expect("a state");
    let output = down(&lab.folder);
    assert!(output.status.success(), "{output:?}");
    wait("the lab to end", || lab.up.try_wait().expect("asked").is_some());
    assert_clean(&state, &lab.folder);
}

#[test]
fn down_cleans_several_folders_and_says_so_once() {
    let mut killed = HalfLab::start();
    let mut running = HalfLab::start();
    let states = [&killed, &running].map(|lab| lab.state().expect("a state"));
    killed.signal(Signal::SIGKILL);
    killed.up.wait().expect("ended");
    let output =
        lab("down", &killed.folder).arg("--dir").arg(running.folder.root()).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.ends_with("\nthe lab is down\n"), "{text}");
    assert!(!text.contains("no lab was running"), "{text}");
    wait("the lab to end", || running.up.try_wait().expect("asked").is_some());
    assert_clean(&states[0], &killed.folder);
    assert_clean(&states[1], &running.folder);
}

#[test]
fn a_damaged_state_is_refused_with_a_remedy() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(root.path()).expect("a folder");
    folder.make_reachable().expect("made");
    fs::write(folder.state(), "{").expect("written");
    let output = down(&folder);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    folder.remove_reachable();
    assert!(
        !output.status.success() && text.contains("damaged") && text.contains("delete the file"),
        "{text}"
    );
}

#[test]
fn missing_programs_are_named_before_anything_starts() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(&root.path().join("lab")).expect("a folder");
    let output = lab("up", &folder).arg("--bin-dir").arg(root.path()).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("nexa-control is missing"), "{text}");
    assert!(!folder.state().exists(), "nothing was started");
}

#[test]
fn the_lab_of_another_folder_is_never_touched() {
    let mut lab = HalfLab::start();
    let mut state = lab.state().expect("a state");
    // As if the prefixes of two folders were the same.
    state.folder = PathBuf::from("/somewhere/else");
    ledger::write(&lab.folder.state(), &state).expect("written");
    let error = nexa_lab::down::clean(&lab.folder).expect_err("refused").to_string();
    assert!(error.contains("/somewhere/else"), "{error}");
    assert!(lab.up.try_wait().expect("asked").is_none(), "it still runs");
    state.folder = lab.folder.root().to_owned();
    ledger::write(&lab.folder.state(), &state).expect("written");
    assert!(down(&lab.folder).status.success());
    lab.up.wait().expect("ended");
    assert_clean(&state, &lab.folder);
}

#[test]
fn what_root_makes_goes_back_to_the_owner_of_the_folder_around() -> io::Result<()> {
    let root = tempfile::tempdir()?;
    std::os::unix::fs::chown(root.path(), Some(4242), Some(4242))?;
    let folder = Folder::open(&root.path().join("lab")).expect("a folder");
    fs::write(folder.log("x"), "x")?;
    folder.give_back().expect("given");
    let owner =
        |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(path).expect("there"));
    assert_eq!(owner(folder.root()), 4242);
    assert_eq!(owner(&folder.log("x")), 4242);
    Ok(())
}
