//! The loop: snapshots in, reports out, until a signal.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nexa_types::Revision;
use nexa_wire::gateway::{FromGateway, Health};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Started;
use crate::config::Settings;
use crate::events::{self, Board};
use crate::gateway::{Gateway, lock};
use crate::guard;
use crate::local::Desk;
use crate::metrics::GatewayCollector;
use crate::reports::{CounterReports, Reports};
use crate::stream::{self, Offer, Options, Timing};
use crate::verify::Verifier;
use nexa_tunnel::PeerStatus;

const TICK: Duration = Duration::from_secs(1);
const REPORT_EVERY_TICKS: u64 = 5;
const CONFIRM_EVERY_TICKS: u64 = 60;

/// Longer than this nobody waits for a rule's time: the wall clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why serving ended.
pub enum End {
    /// By a signal.
    Asked,
    /// The engine ended by itself, for example because somebody deleted the interface.
    TunnelFailed(String),
}

/// Serves until a signal or until the tunnel fails.
///
/// # Errors
/// When a part that must run cannot.
pub async fn serve(started: Started, settings: &Settings) -> anyhow::Result<End> {
    let Started { mut gateway, public_key, metrics, ruleset_events, socket } = started;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tasks = JoinSet::new();
    let (dataplane, tunnel, status) =
        (Arc::clone(&gateway.dataplane), Arc::clone(&gateway.tunnel), Arc::clone(&gateway.status));
    let (errands, mut asked) = mpsc::channel(1);
    let verifier = Arc::new(Verifier::new(Arc::clone(&dataplane), Arc::clone(&status), errands.clone()));
    let board = Arc::new(Board::default());
    let ring = lock(&dataplane).take_events()?;
    tasks.spawn(events::watch(ring, Arc::clone(&board), Arc::clone(&gateway.policies)));
    tasks.spawn(socket.serve(Desk { errands, verifier: Arc::clone(&verifier), board: Arc::clone(&board) }));
    let verify_every = Duration::from_secs(settings.verify_seconds.into());
    tasks.spawn(async move {
        verifier.watch(verify_every).await;
        Ok(())
    });
    let xdp_guard = Arc::clone(&gateway.xdp_guard);
    let collector = GatewayCollector::new(
        dataplane,
        tunnel,
        xdp_guard,
        Arc::clone(&status),
        Arc::clone(&board),
        settings.series,
        settings.host.interface.clone(),
    );
    tasks.spawn(metrics.serve(collector));
    let watch = guard::watch(Arc::clone(&gateway.guard), ruleset_events, Arc::clone(&status));
    tasks.spawn(async {
        watch.await;
        Ok(())
    });

    let options = Options {
        url: settings.control_url.clone(),
        token: settings.token.source().context("neither `token` nor `token_file` is set")?,
        public_key,
        timing: Timing::default(),
    };
    let (offer, mut offers) = mpsc::channel(1);
    let (report, reports) = mpsc::channel(1);
    let stream = tokio::spawn(stream::run(options, offer, reports, status));
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let mut chores = Chores {
        reports: Reports::default(),
        counters: CounterReports::default(),
        board,
        report,
        ticks: 0,
        refused: None,
        was_connected: false,
        is_pinned: true,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            // In this order: what is new goes before what is left of the old.
            biased;
            Some(offer) = offers.recv() => chores.take(&mut gateway, offer).await,
            Some(errand) = asked.recv() => gateway.run(errand).await,
            () = sleep(gateway.stands_for().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)) => {
                if gateway.is_due() {
                    refresh(&mut gateway).await;
                }
            }
            _ = tick.tick() => {
                if let Some(reason) = chores.tick(&mut gateway).await {
                    break End::TunnelFailed(reason);
                }
            }
            Some(ended) = tasks.join_next() => {
                ended.context("a task panicked")??;
                anyhow::bail!("a task that must run for ever has ended");
            }
            _ = terminate.recv() => break End::Asked,
            _ = interrupt.recv() => break End::Asked,
            () = std::future::ready(()), if gateway.has_retired() => gateway.remove_retired().await,
        }
    };
    if matches!(end, End::Asked) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    }
    drop(offers);
    // It says goodbye to the control plane if that answers.
    let _ = timeout(Duration::from_secs(1), stream).await;
    let tunnel = Arc::clone(&gateway.tunnel);
    spawn_blocking(move || lock(&tunnel).stop()).await?;
    tasks.shutdown().await;
    tracing::info!("stopped; programs and guard stay, so nothing passes");
    Ok(end)
}

async fn refresh(gateway: &mut Gateway) {
    if let Err(error) = gateway.refresh().await {
        tracing::error!("the policy cannot be renewed; all is denied when its lease ends: {error:#}");
    }
}

struct Chores {
    reports: Reports,
    counters: CounterReports,
    board: Arc<Board>,
    report: mpsc::Sender<Vec<FromGateway>>,
    ticks: u64,
    /// The last refusal, told once.
    refused: Option<(Revision, String)>,
    was_connected: bool,
    /// Whether what shall outlive the daemon could be pinned when that was last looked at.
    is_pinned: bool,
}

impl Chores {
    async fn take(&mut self, gateway: &mut Gateway, offer: Offer) {
        let revision = offer.sealed.revision;
        let outcome = gateway.accept(offer.sealed).await;
        match &outcome {
            Ok(()) => self.refused = None,
            Err(refusal) => {
                let refused = Some((revision, refusal.reason.clone()));
                if self.refused != refused {
                    tracing::error!(%revision, "snapshot refused, the last good one stays in force: {}", refusal.reason);
                    self.refused = refused;
                }
            }
        }
        // The connection may have ended meanwhile; the next one asks again.
        let _ = offer.reply.send(outcome);
    }

    /// Returns why the tunnel ended by itself, if it did.
    async fn tick(&mut self, gateway: &mut Gateway) -> Option<String> {
        self.ticks += 1;
        let tunnel = Arc::clone(&gateway.tunnel);
        let looked = spawn_blocking(move || {
            let mut tunnel = lock(&tunnel);
            let statuses = tunnel.peers();
            tunnel.save_endpoints(&statuses);
            (statuses, tunnel.failure())
        });
        let (statuses, failure) = looked.await.unwrap_or_default();
        if failure.is_some() {
            return failure;
        }
        gateway.store_again().await;
        if self.ticks.is_multiple_of(REPORT_EVERY_TICKS) {
            self.restore_pins(gateway);
        }
        if self.ticks.is_multiple_of(REPORT_EVERY_TICKS) {
            self.report(gateway, &statuses).await;
        }
        if self.ticks.is_multiple_of(REPORT_EVERY_TICKS) || gateway.is_due() {
            refresh(gateway).await;
        }
        if self.ticks.is_multiple_of(CONFIRM_EVERY_TICKS) && gateway.status.is_connected() {
            self.note_confirmation(gateway).await;
        }
        None
    }

    fn restore_pins(&mut self, gateway: &Gateway) {
        let restored = lock(&gateway.dataplane).restore_pins();
        match &restored {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                gateway.status.count_pin_repair();
                tracing::error!(
                    "somebody removed what holds the policy in force without a daemon; it is pinned again: {}",
                    names.join(", ")
                );
            }
            Err(error) if self.is_pinned => {
                tracing::error!(
                    "nothing will pass once this daemon ends, as it cannot pin what it holds: {error:#}"
                );
            }
            Err(_) => {}
        }
        self.is_pinned = restored.is_ok();
    }

    async fn report(&mut self, gateway: &Gateway, statuses: &[PeerStatus]) {
        let connected = gateway.status.is_connected();
        if connected && !self.was_connected {
            self.forget();
        }
        self.was_connected = connected;
        let (true, Some(applied)) = (connected, gateway.status.applied()) else { return };
        // A connection that is too slow for this hears the newest figures once it has caught up.
        let Ok(place) = self.report.clone().try_reserve_owned() else { return self.forget() };
        let mut frames = Vec::new();
        let peers = self.reports.changed(statuses, &applied.peers);
        if !peers.is_empty() {
            frames.push(FromGateway::Peers { peers });
        }
        frames.extend(self.counters.health(health(gateway)).map(FromGateway::Health));
        let census = lock(&gateway.dataplane).census();
        match spawn_blocking(move || census.read()).await.map_err(anyhow::Error::from).flatten() {
            Ok(counted) => frames.extend(self.counters.changed(&counted).map(FromGateway::Counters)),
            Err(error) => tracing::warn!("the programs' counters cannot be read: {error:#}"),
        }
        let (drops, missed) = self.board.take_unreported();
        if !drops.is_empty() || missed > 0 {
            frames.push(FromGateway::Drops { drops, missed });
        }
        if !frames.is_empty() {
            place.send(frames);
        }
    }

    fn forget(&mut self) {
        self.reports.forget();
        self.counters.forget();
    }

    /// Lets a restart know how old the snapshot really is.
    async fn note_confirmation(&self, gateway: &Gateway) {
        let Some(applied) = gateway.status.applied() else { return };
        if gateway.status.snapshot_age_seconds().is_none_or(|age| age > TICK.as_secs() * CONFIRM_EVERY_TICKS)
        {
            return;
        }
        let store = gateway.store.clone();
        let noted = spawn_blocking(move || store.confirm(applied.revision, &applied.hash)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!("cannot note the snapshot's confirmation: {error}");
        }
    }
}

fn health(gateway: &Gateway) -> Health {
    let status = &gateway.status;
    Health {
        generation: lock(&gateway.dataplane).generation(),
        content_hash: status.content_hash(),
        drift_entries: status.drift_entries(),
        policy_repairs: status.policy_repairs(),
        refusal: status.refusal(),
    }
}
