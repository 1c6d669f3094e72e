use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use nexa_wire::gateway::{FromGateway, ToGateway};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::app::{App, Close, GatewayIdentity, GatewayStream, HEARTBEAT};
use crate::http::client_address::ClientAddress;
use crate::http::extract::bearer;
use crate::http::problem::Problem;

/// The largest frame of a gateway, bytes: a report on 10,000 peers takes about 2 MB.
const MAX_FRAME_BYTES: usize = 8 << 20;
/// How long a gateway may take for its hello, and for taking a frame.
const PATIENCE: Duration = Duration::from_secs(30);
/// A gateway that is silent for so many heartbeats is gone.
const SILENT_HEARTBEATS: u32 = 3;

/// Opens the stream of a gateway: a WebSocket, JSON text frames, the gateway says hello first.
///
/// Closed with 4400 for another version of the protocol, 4401 for a token that is valid no more, 4409 for a WireGuard
/// key that is taken, 4410 where the gateway connected anew.
#[utoipa::path(
    get,
    path = "/api/v1/gateway/stream",
    tag = "gateways",
    security(("gateway" = [])),
    responses(
        (status = 101, description = "The stream is open."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "`websocket_required`"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "`gateway_token_invalid`"),
    ),
)]
pub(in crate::http) async fn stream(
    Gateway(identity): Gateway,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(_) => {
            let detail = "this is the gateways' stream; connect to it as a WebSocket";
            return Problem::new(StatusCode::BAD_REQUEST, "websocket_required", detail).into_response();
        }
    };
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(async |socket| serve(identity, socket).await)
}

/// A gateway by its token.
pub(in crate::http) struct Gateway(GatewayIdentity);

impl FromRequestParts<App> for Gateway {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        // Without any token the gateway is told the same as with a wrong one.
        Ok(Self(app.gateway(bearer(parts).unwrap_or_default(), ClientAddress::of(parts).0).await?))
    }
}

/// Why a stream ends.
enum End {
    /// We close it.
    Close(Close),
    /// The gateway closed it, or is gone.
    Gone,
}

async fn serve(identity: GatewayIdentity, mut socket: WebSocket) {
    let (end, stream) = match greet(identity, &mut socket).await {
        Ok(mut stream) => (follow(&mut stream, &mut socket).await, Some(stream)),
        Err(end) => (end, None),
    };
    if let End::Close(close) = end {
        let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
        // The gateway may be gone by now, which is as well.
        drop(timeout(PATIENCE, socket.send(Message::Close(Some(frame)))).await);
    }
    // Last, because a server that stops waits for this.
    if let Some(stream) = stream {
        stream.end().await;
    }
}

async fn greet(identity: GatewayIdentity, socket: &mut WebSocket) -> Result<GatewayStream, End> {
    loop {
        let message = timeout(PATIENCE, socket.recv()).await.map_err(|_| End::Close(Close::Protocol))?;
        match message {
            Some(Ok(Message::Text(text))) => {
                let frame = serde_json::from_str(&text).map_err(|_| End::Close(Close::Protocol))?;
                return identity.hello(frame).await.map_err(End::Close);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(End::Close(Close::Protocol)),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        }
    }
}

/// Sends what changes, and takes what the gateway says, until either ends.
async fn follow(stream: &mut GatewayStream, socket: &mut WebSocket) -> End {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    if let Err(end) = send_snapshot(stream, socket).await {
        return end;
    }
    loop {
        let step = tokio::select! {
            changed = stream.changed() => match changed {
                Ok(()) => send_snapshot(stream, socket).await,
                Err(close) => Err(End::Close(close)),
            },
            message = socket.recv() => {
                silent = 0;
                take(stream, message).await
            },
            _ = heartbeat.tick() => {
                silent += 1;
                if silent > SILENT_HEARTBEATS { Err(End::Gone) } else { beat(stream, socket).await }
            },
        };
        if let Err(end) = step {
            return end;
        }
    }
}

async fn send_snapshot(stream: &mut GatewayStream, socket: &mut WebSocket) -> Result<(), End> {
    let Some(sealed) = stream.next_snapshot().await.map_err(End::Close)? else { return Ok(()) };
    let text = serde_json::to_string(&ToGateway { snapshot: Some(sealed) }).map_err(|_| End::Gone)?;
    send(socket, Message::Text(text.into())).await
}

async fn take(stream: &GatewayStream, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
    match message {
        Some(Ok(Message::Text(text))) => {
            let frame =
                serde_json::from_str::<FromGateway>(&text).map_err(|_| End::Close(Close::Protocol))?;
            if let Err(error) = stream.handle(frame).await {
                // Figures only: the gateway's next report brings them anew.
                tracing::debug!(%error, "a gateway's frame could not be stored");
            }
            Ok(())
        }
        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Ok(()),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
    }
}

async fn beat(stream: &GatewayStream, socket: &mut WebSocket) -> Result<(), End> {
    stream.heartbeat().await.map_err(End::Close)?;
    send(socket, Message::Ping(Vec::new().into())).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match timeout(PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}
