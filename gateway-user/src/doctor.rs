//! `nexa-gateway doctor`: what keeps this host from being a gateway, and what else on it gets in the way. It changes
//! nothing, and each finding that is not good says what to do.

mod control;
mod forward;
mod links;
mod local;
mod marks;
mod ruleset;
mod walk;
mod xdp;

use nexa_wire::doctor::{Finding, Report};

use crate::config::Doctor;
use crate::preflight::{self, Effective, NET_ADMIN};
use crate::{guard, net};

/// Looks at everything.
pub fn run(settings: &Doctor) -> Report {
    let host = &settings.host;
    let mut findings = preflight::run(host);
    findings.push(local::lockdown());
    findings.push(local::forwarding());
    findings.extend(local::state_dir(settings.state_dir.as_deref()));
    findings.push(local::token(&settings.token));
    findings.extend(tables(settings));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(async {
                findings.extend(kernel(settings).await);
                findings.extend(control::look(settings.control_url.as_ref()).await);
            });
            // A name that is still being looked up must not hold the report up.
            runtime.shutdown_background();
        }
        Err(error) => findings.push(Finding::skipped("control-api", "control plane", error.to_string())),
    }
    Report { program: "nexa-gateway".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), findings }
}

/// What is in the tables of others.
fn tables(settings: &Doctor) -> Vec<Finding> {
    let checks = [(forward::CHECK, forward::TITLE), (marks::NFT_CHECK, marks::NFT_TITLE)];
    let skipped = |why: &str| checks.map(|(check, title)| Finding::skipped(check, title, why)).to_vec();
    if !Effective::of_this_thread().has(NET_ADMIN) {
        return skipped("without CAP_NET_ADMIN");
    }
    let ruleset = match guard::ruleset() {
        Ok(text) => ruleset::Ruleset::parse(&text),
        Err(error) => return skipped(&error.to_string()),
    };
    let Some(ruleset) = ruleset else {
        return skipped("nft's JSON has another shape than this version knows");
    };
    let mut findings = forward::look(&ruleset, &settings.host.interface);
    findings.extend(forward::look_at_legacy(&settings.host.interface));
    findings.extend(marks::in_tables(&ruleset, &settings.host.interface));
    findings
}

/// What netlink knows.
async fn kernel(settings: &Doctor) -> Vec<Finding> {
    match net::Net::connect(&settings.host.interface) {
        Ok(net) => {
            let mut findings = marks::in_rules(&net).await;
            findings.extend(links::mtu(&net, settings).await);
            findings.push(xdp::guard(&net, &settings.host).await);
            findings
        }
        Err(error) => vec![Finding::skipped(links::CHECK, links::TITLE, error.to_string())],
    }
}
