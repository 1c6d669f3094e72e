//! scapy, which makes the packets that no honest sender would: in a Python environment of its own in the tools folder.

use anyhow::Result;

use crate::{
    checkout::Checkout,
    program::Program,
    progress::{say, step},
};

/// The release that the tests' packets are written for.
const VERSION: &str = "2.8.0";

/// Installs scapy unless this release is there.
///
/// # Errors
/// When Python, its environments or scapy cannot be had.
pub fn install(checkout: &Checkout) -> Result<()> {
    let folder = checkout.tools().join("scapy");
    let python = folder.join("bin/python");
    let found = Program::new(&python).args(["-c", "import scapy; print(scapy.__version__)"]).text();
    if found.as_deref() == Some(VERSION) {
        say("setup: scapy is there");
        return Ok(());
    }
    let make = Program::new("python3").args(["-m", "venv", "--clear"]).arg(&folder);
    step(format_args!("setup: installing scapy {VERSION} into {}", folder.display()), || {
        let log = checkout.logs().join("scapy.log");
        if make.run_logged(&log).is_err() {
            // Debian's Python comes without what makes environments.
            Program::new("sh")
                .args(["-c", "apt-get update && apt-get -o DPkg::Lock::Timeout=600 install --yes --no-install-recommends python3-venv"])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .root()?
                .run_logged(&checkout.logs().join("scapy-apt.log"))?;
            make.run_logged(&log)?;
        }
        Program::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("scapy=={VERSION}"))
            .run_logged(&log)
    })
}
