//! The daemon's life: everything in the order in which it is safe, then the loop.

mod instance;
mod serve;

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use nexa_types::PublicKey;
use tokio::task::spawn_blocking;

use crate::config::{self, Settings};
use crate::dataplane::{self, Dataplane};
use crate::gateway::{Gateway, Parts, lock};
use crate::guard::{self, Guard};
use crate::key;
use crate::local::Socket;
use crate::metrics::{self, Metrics};
use crate::net::{HostSettings, Net, RulesetEvents};
use crate::preflight;
use crate::status::Status;
use crate::store::{Store, Stored};
use crate::tunnel::Tunnel;
use crate::xdp_guard::XdpGuard;

use instance::Instance;

/// Between the end of a tunnel that ended by itself and the next start of everything.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When something is missing that a gateway cannot do without; each error says what to do.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    if let Some(missing) = preflight::missing(&preflight::run(&settings.host)) {
        anyhow::bail!(
            "this host lacks what a gateway needs (`nexa-gateway doctor` shows all of it):\n{missing}"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let _instance = Instance::claim(&settings.host.interface)?;
        loop {
            let started = start(&settings).await?;
            match serve::serve(started, &settings).await? {
                serve::End::Asked => return Ok(()),
                serve::End::TunnelFailed(reason) => {
                    tracing::error!(
                        "the tunnel ended by itself ({reason}); starting everything anew, closed first"
                    );
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

/// A gateway that enforces its last good policy, or none, and does not talk to anybody yet.
struct Started {
    gateway: Gateway,
    public_key: PublicKey,
    metrics: Metrics,
    ruleset_events: RulesetEvents,
    socket: Socket,
}

/// The walls come first, then the programs, then a policy; packets pass only after all of them.
async fn start(settings: &Settings) -> anyhow::Result<Started> {
    let host = &settings.host;
    let state_dir = &settings.state_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .with_context(|| format!("cannot make the state folder {}", state_dir.display()))?;
    let key = key::load_or_make(state_dir)?;
    let metrics = metrics::bind(settings.metrics_listen).await?;
    tracing::info!("metrics on {}", metrics.address()?);
    let store = Store::new(state_dir);
    let stored = store.load();

    let ruleset_events =
        RulesetEvents::open().context("the kernel does not announce changes of its nft ruleset")?;
    let guard = Arc::new(Guard::new());
    let addresses = match &stored {
        Stored::Good(good) => Some((&good.snapshot.network).into()),
        Stored::Nothing | Stored::Damaged(_) => None,
    };
    let spec = guard::Spec::new(host.interface.clone(), addresses);
    guard.apply(&spec).context("cannot load the nft guard")?;

    // A new interface is down; one of an earlier run still has its programs and the policy of then.
    let xdp_guard = Arc::new(Mutex::new(XdpGuard::default()));
    let tunnel = Tunnel::open(&host.interface, &key, state_dir, Arc::clone(&xdp_guard))?;
    preflight::mount_pin_dir(&host.pin_dir)?;
    let config::Maps { max_flows, max_rules } = settings.maps;
    let pin_dir = Some(host.pin_dir.clone());
    let options = dataplane::Options { pin_dir, max_flows, max_rules, ..dataplane::Options::default() };
    let interface = host.interface.clone();
    let dataplane = spawn_blocking(move || {
        let mut dataplane = Dataplane::open(&options).context("cannot load the policy programs")?;
        dataplane
            .attach(interface.as_str())
            .with_context(|| format!("cannot attach the policy programs to {interface}"))?;
        anyhow::Ok(dataplane)
    });
    let dataplane = dataplane.await??;
    HostSettings::new(state_dir).apply(host.uplink.as_ref(), max_flows)?;
    let for_guard = host.clone();
    *lock(&xdp_guard) = spawn_blocking(move || XdpGuard::start(&for_guard)).await?;

    let net = Net::connect(&host.interface)?;
    let status = Arc::new(Status::default());
    let interface = host.interface.clone();
    let public_key = key.public_key();
    let mut gateway = Gateway::new(Parts {
        interface,
        dataplane,
        guard,
        xdp_guard,
        net,
        tunnel,
        store,
        status,
        public_key,
    });
    resume(&mut gateway, stored).await?;
    let socket = Socket::bind(&settings.socket())?;
    Ok(Started { gateway, public_key, metrics, ruleset_events, socket })
}

/// Without a good snapshot everything is denied, whatever an earlier run left in the maps.
async fn resume(gateway: &mut Gateway, stored: Stored) -> anyhow::Result<()> {
    match stored {
        Stored::Good(good) => {
            let (revision, confirmed_unix) = (good.sealed.revision, good.confirmed_unix);
            match gateway.resume(*good).await {
                Ok(()) => {
                    gateway.status.set_confirmed_unix(confirmed_unix);
                    tracing::info!(%revision, "the last good snapshot is in force");
                    return Ok(());
                }
                Err(refusal) => tracing::error!(
                    %revision,
                    "the last good snapshot cannot be put in force, so everything is denied until the control plane \
                     sends one: {}",
                    refusal.reason
                ),
            }
        }
        Stored::Nothing => {
            tracing::info!("no snapshot yet: everything is denied until the control plane sends one")
        }
        Stored::Damaged(reason) => tracing::error!(
            "the stored snapshot is damaged, so everything is denied until the control plane sends one: {reason}"
        ),
    }
    gateway.deny_everything().await
}
