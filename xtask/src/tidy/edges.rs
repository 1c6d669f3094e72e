//! Who may know whom, as docs/ARCHITECTURE.md says it, and that every crate inherits the workspace's lints.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{File, Finding, Weight};
use crate::checkout::Checkout;

/// A package of the workspace and the packages that its programs and libraries use, tests aside.
#[derive(Debug)]
pub struct Package {
    name: String,
    uses: Vec<String>,
}

/// The crates of the workspace that a crate may use. Those below `tests/` may use any.
const EDGES: &[(&str, &[&str])] = &[
    ("nexa-types", &[]),
    ("nexa-abi", &[]),
    ("nexa-policy", &["nexa-types"]),
    ("nexa-wire", &["nexa-types"]),
    ("nexa-config", &[]),
    ("nexa-tunnel", &["nexa-types"]),
    ("nexa-wg", &["nexa-tunnel"]),
    ("nexa-gateway-core", &["nexa-types", "nexa-abi", "nexa-policy", "nexa-wire"]),
    (
        "nexa-gateway",
        &["nexa-types", "nexa-abi", "nexa-wire", "nexa-config", "nexa-gateway-core", "nexa-tunnel"],
    ),
    ("nexa-control", &["nexa-types", "nexa-policy", "nexa-wire", "nexa-config"]),
    ("nexactl", &["nexa-types", "nexa-wire"]),
    ("nexa-ipc", &["nexa-types", "nexa-wire"]),
    ("nexa-tunneld", &["nexa-types", "nexa-wire", "nexa-ipc", "nexa-tunnel"]),
    ("nexa-cli", &["nexa-types", "nexa-wire", "nexa-ipc"]),
    ("nexa-desktop", &["nexa-types", "nexa-ipc"]),
    ("xtask", &[]),
];

/// Packages outside of the workspace, which cannot inherit its lints.
const APART: [&str; 2] = ["gateway-ebpf/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// Crates from elsewhere that a crate must not use, and why.
const FORBIDDEN: &[(&[&str], &[&str], &str)] = &[
    (
        &["nexa-abi", "nexa-policy", "nexa-gateway-core"],
        &["tokio", "axum", "sqlx", "rand", "getrandom", "fastrand", "reqwest", "ureq"],
        "this crate is pure; do that in gateway-user or control-api",
    ),
    (&["nexa-gateway"], &["sqlx"], "a gateway knows the control plane only by its stream"),
    (
        &["nexa-tunneld"],
        &["tauri"],
        "the privileged service has no window; put it into desktop-client/src-tauri",
    ),
    (
        &["nexa-desktop"],
        &["tun-rs", "rtnetlink", "nexa-tunnel", "boringtun"],
        "the window has no privilege; ask the service for it through nexa-ipc",
    ),
];

/// Crates that tests make of others, with any of them.
const FREE: [&str; 3] = ["nexa-bench", "nexa-differential", "nexa-lab"];

/// Asks cargo for the packages of the workspace.
///
/// # Errors
/// When cargo fails.
pub fn packages(checkout: &Checkout) -> Result<Vec<Package>> {
    let output = checkout
        .cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .command()
        .output()
        .context("cannot start cargo")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cannot read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata has no packages")?;
    packages.iter().map(|package| read(package).context("cargo's metadata has another shape")).collect()
}

fn read(package: &Value) -> Option<Package> {
    let uses = package["dependencies"]
        .as_array()?
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| dependency["name"].as_str().map(str::to_owned));
    Some(Package { name: package["name"].as_str()?.to_owned(), uses: uses.collect::<Option<_>>()? })
}

/// Finds uses that the architecture does not know.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().filter(|package| !FREE.contains(&package.name.as_str())).flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let fault = |fix: String| Finding { place: package.name.clone(), fix, weight: Weight::Fault };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
        return vec![fault(
            "say in xtask/src/tidy/edges.rs and docs/ARCHITECTURE.md whom it may use".to_owned(),
        )];
    };
    let ours = |name: &str| EDGES.iter().any(|(known, _)| *known == name) || FREE.contains(&name);
    let inside = package.uses.iter().filter(|name| ours(name) && !allowed.contains(&name.as_str())).map(|name| {
        fault(format!(
            "must not use {name}: move what it needs to a crate that both may use, or pass it in (docs/ARCHITECTURE.md)"
        ))
    });
    let outside = FORBIDDEN.iter().filter(|(names, ..)| names.contains(&package.name.as_str())).flat_map(
        |(_, forbidden, why)| {
            package
                .uses
                .iter()
                .filter(|name| forbidden.contains(&name.as_str()))
                .map(move |name| fault(format!("must not use {name}: {why}")))
        },
    );
    inside.chain(outside).collect()
}

/// Finds packages that do not inherit the workspace's lints. Packages outside of it repeat them.
pub fn check_lints(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml") && !APART.contains(&file.path.as_str()))
        .filter(|file| !file.text.replace("\r\n", "\n").contains("[lints]\nworkspace = true"))
        .map(|file| Finding {
            place: file.path.clone(),
            fix: "add `[lints]` with `workspace = true`".to_owned(),
            weight: Weight::Fault,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, uses: &[&str]) -> Vec<String> {
        let package =
            Package { name: name.to_owned(), uses: uses.iter().map(|&name| name.to_owned()).collect() };
        check(&[package]).into_iter().map(|finding| finding.fix).collect()
    }

    #[test]
    fn an_edge_that_is_not_drawn_is_a_fault() {
        assert_eq!(faults("nexa-wire", &["serde", "nexa-types"]), Vec::<String>::new());
        let found = faults("nexa-wire", &["nexa-policy"]);
        assert!(found[0].starts_with("must not use nexa-policy: move what it needs"), "{found:?}");
        assert_eq!(faults("xtask", &["nexa-types"]).len(), 1);
    }

    #[test]
    fn what_a_pure_crate_must_not_use_is_a_fault_with_its_reason() {
        let found = faults("nexa-policy", &["tokio"]);
        assert_eq!(found, ["must not use tokio: this crate is pure; do that in gateway-user or control-api"]);
        assert_eq!(faults("nexa-gateway", &["sqlx"]).len(), 1);
        assert_eq!(faults("nexa-control", &["sqlx", "tokio"]), Vec::<String>::new());
    }

    #[test]
    fn a_crate_nobody_has_placed_is_a_fault() {
        assert!(faults("nexa-new", &[])[0].contains("whom it may use"));
    }

    #[test]
    fn a_crate_without_the_lints_is_a_fault() {
        let file = |text: &str| File { path: "crates/x/Cargo.toml".to_owned(), text: text.to_owned() };
        assert_eq!(check_lints(&[file("[package]\n")]).len(), 1);
        assert_eq!(check_lints(&[file("[lints]\nworkspace = true\n")]).len(), 0);
    }
}
