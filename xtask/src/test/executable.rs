//! The workspace's test programs: built once, by cargo, and told apart by what they need.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Part;
use crate::{checkout::Checkout, program::Program, progress::step};

/// A test program.
#[derive(Debug, PartialEq, Eq)]
pub struct Executable {
    /// Name of its package.
    pub package: String,
    /// `lib`, `bin` or `test`.
    pub kind: String,
    /// Name of the target, for integration tests that of the file.
    pub name: String,
    /// The program.
    pub file: PathBuf,
    /// The package's folder, where cargo would run it.
    pub folder: PathBuf,
}

impl Executable {
    /// The part that runs it. Tests of programs in the kernel are told by their file's name, `kernel…`.
    pub fn part(&self) -> Part {
        let integration = self.kind == "test";
        match self.package.as_str() {
            "nexa-control" => Part::Api,
            "nexa-lab" => Part::Lab,
            _ if integration && self.name.starts_with("kernel") => Part::Ebpf,
            "nexa-bench" | "nexa-gateway" | "nexa-tunnel" | "nexa-wg" if integration => Part::Lab,
            _ => Part::Unit,
        }
    }

    /// Whether it needs root: it loads programs or makes namespaces.
    pub fn needs_root(&self) -> bool {
        matches!(self.part(), Part::Ebpf | Part::Lab)
    }
}

/// Builds the workspace's programs and test programs, and lists the latter.
///
/// One build for all parts: with fewer packages selected, cargo would choose other features of shared dependencies
/// and build those again.
///
/// # Errors
/// When the build fails.
pub fn build(checkout: &Checkout) -> Result<Vec<Executable>> {
    let arguments = ["build", "--quiet", "--workspace", "--lib", "--bins", "--tests"];
    step("test: building all programs and tests", || built(&checkout.cargo().args(arguments)))
}

/// Has cargo build, and lists the test programs.
///
/// # Errors
/// When the build fails.
pub fn built(cargo: &Program) -> Result<Vec<Executable>> {
    let output = cargo
        .clone()
        .arg("--message-format=json-render-diagnostics")
        .command()
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the build failed");
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(read).collect())
}

/// Reads one of cargo's messages; none unless it is about a test program.
fn read(line: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    Some(Executable {
        package: package(message["package_id"].as_str()?),
        kind: text(&message["target"]["kind"][0])?,
        name: text(&message["target"]["name"])?,
        file: text(&message["executable"])?.into(),
        folder,
    })
}

/// Reads a package's name out of an id: `path+file:///…/folder#name@version`, or `…/name#version`.
fn package(id: &str) -> String {
    let (source, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => source.rsplit('/').next().unwrap_or(source).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Executable, package, read};
    use crate::test::Part;

    fn executable(package: &str, kind: &str, name: &str) -> Executable {
        let [package, kind, name] = [package, kind, name].map(str::to_owned);
        Executable { package, kind, name, file: PathBuf::new(), folder: PathBuf::new() }
    }

    #[test]
    fn package_ids_of_both_forms_are_read() {
        assert_eq!(package("path+file:///a/control-api#nexa-control@0.1.0"), "nexa-control");
        assert_eq!(package("path+file:///a/crates/nexa-abi#0.1.0"), "nexa-abi");
    }

    #[test]
    fn messages_about_other_things_are_not_tests() {
        assert_eq!(read("{\"reason\":\"build-finished\",\"success\":true}"), None);
        let library = r#"{"reason":"compiler-artifact","package_id":"path+file:///a/x#0.1.0",
            "manifest_path":"/a/x/Cargo.toml","target":{"kind":["lib"],"name":"x"},
            "profile":{"test":false},"executable":null}"#;
        assert_eq!(read(library), None);
        let test = library.replace("false", "true").replace("null", "\"/a/target/x-1\"");
        let read = read(&test).expect("a test program");
        assert_eq!((read.package.as_str(), read.file.to_str()), ("x", Some("/a/target/x-1")));
    }

    #[test]
    fn every_kind_of_test_has_its_part() {
        let part = |package, kind, name| executable(package, kind, name).part();
        assert_eq!(part("nexa-policy", "lib", "nexa_policy"), Part::Unit);
        assert_eq!(part("nexa-policy", "test", "properties"), Part::Unit);
        assert_eq!(part("nexa-gateway", "bin", "nexa-gateway"), Part::Unit);
        assert_eq!(part("nexa-gateway", "test", "kernel_verdicts"), Part::Ebpf);
        assert_eq!(part("nexa-gateway", "test", "netns_gateway"), Part::Lab);
        assert_eq!(part("nexa-differential", "test", "kernel"), Part::Ebpf);
        assert_eq!(part("nexa-differential", "test", "host"), Part::Unit);
        assert_eq!(part("nexa-tunnel", "lib", "nexa_tunnel"), Part::Unit);
        assert_eq!(part("nexa-tunnel", "test", "namespaces"), Part::Lab);
        assert_eq!(part("nexa-bench", "lib", "nexa_bench"), Part::Unit);
        assert_eq!(part("nexa-bench", "test", "veth"), Part::Lab);
        assert_eq!(part("nexa-control", "test", "devices"), Part::Api);
        assert_eq!(part("nexa-lab", "lib", "nexa_lab"), Part::Lab);
    }

    #[test]
    fn only_what_touches_the_kernel_runs_as_root() {
        assert!(executable("nexa-gateway", "test", "kernel_verdicts").needs_root());
        assert!(!executable("nexa-control", "test", "devices").needs_root());
        assert!(!executable("nexa-policy", "lib", "nexa_policy").needs_root());
    }
}
