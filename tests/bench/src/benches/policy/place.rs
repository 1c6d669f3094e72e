//! Where packets are injected: a namespace with an interface that receives them.

use std::fs;

use anyhow::{Context as _, Result};
use aya::programs::TcAttachType;
use nexa_lab::{ledger::Ledger, names::Prefix, namespace::Namespace};
use nix::sched::{CpuSet, sched_setaffinity};

use super::{
    inject::{Counter, Injector},
    sender::Sender,
};

/// The interface that receives.
pub(super) const IN: &str = "in";
/// The other end of it.
pub(super) const PEER: &str = "in-peer";
/// The interface that what is forwarded leaves by.
const OUT: &str = "out";

/// A namespace with the interface [`IN`].
pub(super) struct Place {
    pub(super) namespace: Namespace,
}

impl Place {
    /// Makes it.
    pub(super) fn new(prefix: &Prefix, ledger: &Ledger, name: &str) -> Result<Self> {
        let name = prefix.name(name);
        ledger.namespace(&name)?;
        let namespace = Namespace::new(&name)?;
        namespace.ip(["link add in address 02:00:00:00:00:01 type veth peer name in-peer"])?;
        // Its kernel would greet its neighbours, and what it sends would be counted with what is injected.
        namespace
            .run(|| fs::write(format!("/proc/sys/net/ipv6/conf/{PEER}/disable_ipv6"), "1"))?
            .context("cannot silence the other end")?;
        namespace.ip(["link set in up", "link set in-peer up"])?;
        Ok(Self { namespace })
    }

    /// Has it forward everything to another interface, where a program ends and counts it.
    pub(super) fn forward(&self) -> Result<Counter> {
        self.namespace.run(|| {
            for (path, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/in/rp_filter", "0"),
                ("ipv6/conf/all/forwarding", "1"),
            ] {
                fs::write(format!("/proc/sys/net/{path}"), value)
                    .with_context(|| format!("cannot set {path}"))?;
            }
            anyhow::Ok(())
        })??;
        self.namespace.ip([
            "link add out type veth peer name out-peer",
            "link set out up",
            "link set out-peer up",
            "address add 192.0.2.1/24 dev out",
            "route add default via 192.0.2.2 dev out",
            "route add ::/0 via fe80::2 dev out",
            "neighbour add 192.0.2.2 lladdr 02:00:00:00:00:03 dev out nud permanent",
            "neighbour add fe80::2 lladdr 02:00:00:00:00:03 dev out nud permanent",
        ])?;
        self.namespace.run(|| Counter::end(OUT, TcAttachType::Egress))?
    }

    /// Injects frames as if [`IN`] had received them, on the machine's last CPU; returns the nanoseconds of one.
    pub(super) fn inject(&self, injector: &Injector, count: u32) -> Result<f64> {
        self.inject_at(IN, injector, count)
    }

    /// As [`Self::inject`], at an interface.
    pub(super) fn inject_at(&self, interface: &str, injector: &Injector, count: u32) -> Result<f64> {
        self.namespace.run(|| {
            stay_on_last_cpu()?;
            let index = nix::net::if_::if_nametoindex(interface).context("no interface")?;
            injector.run(index, count)
        })?
    }

    /// Has `work` send frames into [`IN`], from the machine's last CPU.
    pub(super) fn with_sender<T: Send>(&self, work: impl FnOnce(&Sender) -> Result<T> + Send) -> Result<T> {
        self.namespace.run(|| {
            stay_on_last_cpu()?;
            work(&Sender::new(PEER)?)
        })?
    }
}

fn stay_on_last_cpu() -> Result<()> {
    stay_on_cpu(std::thread::available_parallelism().context("cannot count CPUs")?.get() - 1)
}

/// Keeps this thread on one CPU: a move in the middle would fill another's caches.
pub(super) fn stay_on_cpu(number: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(number).context("no such CPU")?;
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).context("cannot stay on a CPU")
}
