//! A control plane for tests: real frames on a real socket, and every word of it decided by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nexa_wire::gateway::{FromGateway, ToGateway};
use nexa_wire::snapshot::Sealed;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// The token that it takes.
pub const TOKEN: &str = "the-right-token";

const PATIENCE: Duration = Duration::from_secs(30);

/// The listening side.
pub struct FakeControl {
    /// Where it listens.
    pub address: SocketAddr,
    connections: mpsc::UnboundedReceiver<Connection>,
    attempts: Arc<AtomicUsize>,
    status: Arc<AtomicU16>,
}

/// One gateway's connection.
pub struct Connection {
    socket: WebSocketStream<TcpStream>,
}

impl FakeControl {
    /// Listens on a free port of the loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::unbounded_channel();
        let attempts = Arc::new(AtomicUsize::new(0));
        let status = Arc::new(AtomicU16::new(0));
        let (counted, answer) = (Arc::clone(&attempts), Arc::clone(&status));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (sender, answer) = (sender.clone(), answer.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    if let Some(socket) = handshake(stream, answer).await {
                        let _ = sender.send(Connection { socket });
                    }
                });
            }
        });
        Self { address, connections, attempts, status }
    }

    /// Answers every handshake with this HTTP status from now on; 0 serves.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// How many connections there were.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    /// The next connection whose handshake succeeded.
    pub async fn connection(&mut self) -> Connection {
        timeout(PATIENCE, self.connections.recv()).await.expect("no gateway connects").unwrap()
    }
}

impl Connection {
    /// The gateway's next message; pings are answered.
    pub async fn receive(&mut self) -> FromGateway {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("the gateway says nothing");
            if let Message::Text(text) = message.expect("the gateway ended the connection").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Sends a snapshot.
    pub async fn send(&mut self, sealed: Sealed) {
        let frame = serde_json::to_string(&ToGateway { snapshot: Some(sealed) }).unwrap();
        self.send_text(&frame).await;
    }

    /// Sends a frame as it is.
    pub async fn send_text(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    /// Closes with a code, as a server that refuses.
    pub async fn close_with(mut self, code: u16, reason: &str) {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await.unwrap();
        self.closed().await;
    }

    /// Returns once the gateway has read everything that was sent.
    pub async fn everything_is_read(&mut self) {
        self.socket.send(Message::Ping("all read".into())).await.unwrap();
        let pong = async { while !matches!(self.socket.next().await, Some(Ok(Message::Pong(_)))) {} };
        timeout(PATIENCE, pong).await.expect("the gateway does not read");
    }

    /// Waits until the gateway closes, answering pings.
    pub async fn closed(mut self) {
        let drain = async { while let Some(Ok(_)) = self.socket.next().await {} };
        timeout(PATIENCE, drain).await.expect("the gateway keeps the connection");
    }
}

#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
async fn handshake(stream: TcpStream, status: u16) -> Option<WebSocketStream<TcpStream>> {
    let decide = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let authorized =
            request.headers().get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
        assert_eq!(request.uri().path(), nexa_wire::gateway::PATH);
        let status = if status == 0 && !authorized { 401 } else { status };
        if status == 0 {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some(r#"{"code":"gateway_token_invalid"}"#.to_owned()));
        *refusal.status_mut() = status.try_into().unwrap();
        Err(refusal)
    };
    tokio_tungstenite::accept_hdr_async(stream, decide).await.ok()
}
