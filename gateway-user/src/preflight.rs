//! What the gateway needs of this host, each missing thing named with its remedy. `nexa-gateway check` prints it;
//! `run` stops on it, before anything is touched.

mod bpf;
mod capability;
mod device;

use std::fmt::Write as _;

pub use bpf::mount_pin_dir;

use crate::config::Host;
use crate::guard;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is needed.
    pub need: String,
    /// Whether it is there.
    pub outcome: Outcome,
}

/// Whether a need is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, with a detail worth knowing.
    Present(String),
    /// It is missing: what was found, and what to do.
    Missing {
        /// What was found instead.
        found: String,
        /// What to do about it.
        remedy: String,
    },
}

impl Finding {
    fn present(need: &str, detail: impl Into<String>) -> Self {
        Self { need: need.to_owned(), outcome: Outcome::Present(detail.into()) }
    }

    fn missing(need: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let outcome = Outcome::Missing { found: found.into(), remedy: remedy.into() };
        Self { need: need.to_owned(), outcome }
    }

    /// Whether the need is met.
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Present(_))
    }
}

/// Looks at everything, changing nothing.
pub fn run(host: &Host) -> Vec<Finding> {
    let capabilities = capability::Effective::of_this_thread();
    let mut findings = capability::findings(&capabilities);
    findings.push(bpf::kernel_version());
    findings.push(bpf::type_information());
    findings.push(bpf::pin_dir(&host.pin_dir, capabilities.may_mount()));
    findings.push(device::tun());
    findings.extend(host.uplink.as_ref().map(device::uplink));
    findings.push(nft(host, capabilities.has(capability::NET_ADMIN)));
    findings
}

/// One line per finding, remedies below what is missing.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { need, outcome } in findings {
        // Writing to a string cannot fail.
        let _ = match outcome {
            Outcome::Present(detail) => writeln!(text, "✓ {need}: {detail}"),
            Outcome::Missing { found, remedy } => writeln!(text, "✗ {need}: {found}\n  → {remedy}"),
        };
    }
    text
}

/// The missing findings in one sentence, for `run`.
pub fn missing(findings: &[Finding]) -> Option<String> {
    let missing = findings.iter().filter_map(|finding| match &finding.outcome {
        Outcome::Missing { found, remedy } => Some(format!("{}: {found}; {remedy}", finding.need)),
        Outcome::Present(_) => None,
    });
    Some(missing.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
}

fn nft(host: &Host, may_ask: bool) -> Finding {
    const NEED: &str = "nft";
    if !may_ask {
        return Finding::missing(NEED, "not looked at", "give CAP_NET_ADMIN first, then check again");
    }
    // The richest text: every expression that the guard may ever use, nat and clamping among them.
    match guard::check(&guard::Spec::with_everything(&host.interface)) {
        Ok(()) => Finding::present(NEED, "the kernel takes the guard"),
        Err(error @ guard::NftError::Run(_)) => Finding::missing(NEED, error.to_string(), "then check again"),
        Err(error) => Finding::missing(
            NEED,
            error.to_string(),
            "use a kernel with nf_tables, nft_ct, nft_nat, nft_masq and nft_rt, loaded where they are modules, and nftables 1.0 or newer",
        ),
    }
}
