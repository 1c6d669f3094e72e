//! What the gateway needs of this host, each missing thing named with its remedy. `nexa-gateway doctor` prints it,
//! with more; `run` stops on it, before anything is touched.

mod bpf;
mod capability;
mod device;

pub use bpf::mount_pin_dir;
pub(crate) use capability::{Effective, NET_ADMIN};

use nexa_wire::doctor::Finding;

use crate::config::Host;
use crate::guard;

/// Looks at everything, changing nothing.
pub fn run(host: &Host) -> Vec<Finding> {
    let capabilities = Effective::of_this_thread();
    let mut findings = capability::findings(&capabilities);
    findings.push(bpf::kernel_version());
    findings.push(bpf::type_information());
    findings.push(bpf::pin_dir(&host.pin_dir, capabilities.may_mount()));
    findings.push(device::tun());
    findings.extend(host.uplink.as_ref().map(device::uplink));
    findings.push(nft(host, capabilities.has(NET_ADMIN)));
    findings
}

/// The missing findings in one sentence, for `run`.
pub fn missing(findings: &[Finding]) -> Option<String> {
    let problems = findings.iter().filter(|finding| finding.is_problem());
    let problems = problems.map(|Finding { title, found, remedy, .. }| {
        format!("{title}: {found}; {}", remedy.as_deref().unwrap_or_default())
    });
    Some(problems.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
}

fn nft(host: &Host, may_ask: bool) -> Finding {
    const CHECK: &str = "nft-guard";
    const NEED: &str = "nft";
    if !may_ask {
        return Finding::problem(CHECK, NEED, "not looked at", "give CAP_NET_ADMIN first, then look again");
    }
    // The richest text: every expression that the guard may ever use, nat and clamping among them.
    match guard::check(&guard::Spec::with_everything(&host.interface)) {
        Ok(()) => Finding::ok(CHECK, NEED, "the kernel takes the guard"),
        Err(error @ guard::NftError::Run(_)) => {
            Finding::problem(CHECK, NEED, error.to_string(), "apt install nftables")
        }
        Err(error) => Finding::problem(
            CHECK,
            NEED,
            error.to_string(),
            "use a kernel with nf_tables, nft_ct, nft_nat, nft_masq and nft_rt, loaded where they are modules, and nftables 1.0 or newer",
        ),
    }
}
