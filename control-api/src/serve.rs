//! Serves the API until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::{App, Database};
use crate::http::{self, Serving};

/// How long requests may go on after the order to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Migrates, then serves on `listen` until `stop` is ready; requests that run are then finished.
///
/// # Errors
/// When the address is taken, the database is away at the start, or the web app's folder holds no web app.
pub async fn serve(
    listen: SocketAddr,
    database: &Database,
    serving: Serving<'_>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    if let Some(folder) = serving.web {
        let index = folder.join("index.html");
        anyhow::ensure!(
            index.is_file(),
            "there is no {}; build the web app with `npm run build`",
            index.display()
        );
    }
    let (app, background) = App::start(database).await.context("starting with the database")?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    tracing::info!("listening on {}", listener.local_addr()?);
    if !app.has_owner().await? {
        tracing::warn!(
            "there is no owner yet: run `nexa-control bootstrap`, and use its token at POST /api/v1/bootstrap"
        );
    }
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        tracing::info!("stopping");
        // The streams of gateways end with it; graceful shutdown does not wait for them.
        background.stop().await;
        // The receiver is there as long as the server below runs.
        let _ = stopping.send(());
    };
    // A snapshot must not wait for the acknowledgement of what was sent before it.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let service = http::router(app.clone(), serving).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stop);
    let overdue = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server => served?,
        () = overdue => tracing::warn!("some requests took longer than {GRACE:?} and were cut off"),
    }
    if tokio::time::timeout(GRACE, app.close()).await.is_err() {
        tracing::warn!("connections to the database were cut off");
    }
    Ok(())
}
