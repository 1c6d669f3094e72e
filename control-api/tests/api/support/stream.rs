use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use futures_util::{SinkExt as _, StreamExt as _};
use nexa_types::Revision;
use nexa_wire::gateway::{FromGateway, PATH, PROTOCOL, ToGateway};
use nexa_wire::snapshot::{Sealed, Snapshot};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest as _};

/// A gateway's end of its stream.
pub struct Stream {
    socket: WebSocketStream<TcpStream>,
}

impl Stream {
    /// Serves `router` on a free port and connects to it.
    pub async fn open(router: Router, token: &str) -> Self {
        Self::try_open(router, token).await.unwrap()
    }

    /// As [`Self::open`]; gives the server's refusal.
    pub async fn try_open(router: Router, token: &str) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self::connect(address, token).await
    }

    /// Connects to a server that runs.
    pub async fn connect(address: SocketAddr, token: &str) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{PATH}").into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        Ok(Self { socket: tokio_tungstenite::client_async(request, stream).await?.0 })
    }

    /// Says hello with a key of this text.
    pub async fn hello(&mut self, key: &str) {
        self.hello_with(key, None).await;
    }

    /// As [`Self::hello`], with the revision and the hash of a snapshot that is in force.
    pub async fn hello_with(&mut self, key: &str, in_force: Option<(u64, &str)>) {
        let public_key = key.parse().unwrap();
        self.send(&FromGateway::Hello {
            protocol: PROTOCOL,
            version: "0.1.0-test".into(),
            public_key,
            applied: in_force.map(|(revision, _)| Revision(revision)),
            applied_hash: in_force.map(|(_, hash)| hash.to_owned()),
        })
        .await;
    }

    pub async fn send(&mut self, frame: &FromGateway) {
        self.send_text(&serde_json::to_string(frame).unwrap()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next snapshot with its seal, which is checked.
    pub async fn sealed(&mut self) -> (Sealed, Snapshot) {
        loop {
            let message =
                timeout(Duration::from_secs(15), self.socket.next()).await.expect("a snapshot comes");
            match message.expect("the stream is open").unwrap() {
                Message::Text(text) => {
                    let frame: ToGateway = serde_json::from_str(&text).unwrap();
                    let sealed = frame.snapshot.expect("a snapshot");
                    let snapshot = sealed.open().unwrap();
                    return (sealed, snapshot);
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next snapshot.
    pub async fn snapshot(&mut self) -> Snapshot {
        self.sealed().await.1
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.socket.next()).await.is_err()
    }

    /// The code that the server closes the stream with.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            let message =
                timeout(Duration::from_secs(15), self.socket.next()).await.expect("the stream is closed");
            match message {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("closed without a code: {other:?}"),
            }
        }
    }
}
