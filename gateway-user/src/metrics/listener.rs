//! The metrics' own HTTP listener.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

use super::GatewayCollector;

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
}

/// Binds the listener.
///
/// # Errors
/// When the address is taken or not this host's.
pub async fn bind(address: SocketAddr) -> anyhow::Result<Metrics> {
    let listener = TcpListener::bind(address).await;
    let listener = listener
        .with_context(|| format!("cannot serve metrics on {address}; give another --metrics-listen"))?;
    Ok(Metrics { listener })
}

impl Metrics {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers `/metrics` and `/healthz` until the task is dropped.
    ///
    /// # Errors
    /// When the collectors contradict each other, or the listener breaks.
    pub async fn serve(self, collector: GatewayCollector) -> anyhow::Result<()> {
        let registry = Registry::new();
        registry.register(Box::new(collector))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let app =
            Router::new().route("/metrics", get(metrics)).route("/healthz", get("ok\n")).with_state(registry);
        axum::serve(self.listener, app).await.context("the metrics' listener broke")
    }
}

async fn metrics(State(registry): State<Registry>) -> Response {
    // Reading the maps takes system calls.
    let text =
        tokio::task::spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather())).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
