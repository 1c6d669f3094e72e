//! From a URL and a token file to an open WebSocket.

use std::time::Duration;

use nexa_config::SecretSource;
use nexa_wire::gateway::{MAX_FRAME_BYTES, PATH};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, handshake::client::Request};
use zeroize::Zeroizing;

use super::heard::{Heard, LastHeard};
use super::{Ended, Options};

/// An open connection.
pub struct Connection {
    pub(super) socket: WebSocketStream<Heard<TcpStream>>,
    pub(super) heard: LastHeard,
}

pub async fn connect(options: &Options, token: &Token) -> Result<Connection, Ended> {
    let request = request(options, token)?;
    let limit = options.timing.connect_timeout;
    let host = options.url.host().trim_matches(['[', ']']);
    let stream = timeout(limit, TcpStream::connect((host, options.url.port()))).await;
    let stream = stream.map_err(|_| Ended::Lost("it does not answer".to_owned()))?;
    let stream = stream.map_err(|error| Ended::Lost(error.to_string()))?;
    // Acks are small and urgent.
    stream.set_nodelay(true).map_err(|error| Ended::Lost(error.to_string()))?;
    let (stream, heard) = Heard::new(stream);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    match timeout(limit, tokio_tungstenite::client_async_with_config(request, stream, Some(config))).await {
        Ok(Ok((socket, _))) => Ok(Connection { socket, heard }),
        Ok(Err(tungstenite::Error::Http(response))) => Err(refused(response.status(), options)),
        Ok(Err(error)) => Err(Ended::Lost(error.to_string())),
        Err(_) => Err(Ended::Lost("it accepts connections but does not answer".to_owned())),
    }
}

/// A gateway's token, wiped from memory when dropped.
pub type Token = Zeroizing<String>;

/// Returns once the token's file holds another token than `used`.
pub async fn token_changed(source: &SecretSource, used: Option<&Token>) {
    let mut tick = interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        if read_token(source).await.ok().as_ref() != used {
            return;
        }
    }
}

fn refused(status: StatusCode, options: &Options) -> Ended {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ended::Unwanted(format!(
            "{} refuses this gateway's token ({}); make a new one for this gateway in the console or with POST \
             /api/v1/gateways/<id>/token and {}. The last good snapshot stays in force",
            options.url,
            status.as_u16(),
            renewal(&options.token)
        )),
        StatusCode::NOT_FOUND => Ended::Unwanted(format!(
            "{} has no gateway stream (404); is --control-url the address of nexa-control itself?",
            options.url
        )),
        _ => Ended::Lost(format!("it answered {status}")),
    }
}

fn request(options: &Options, token: &Token) -> Result<Request, Ended> {
    let url = format!("ws://{}:{}{PATH}", options.url.host(), options.url.port());
    let mut request = url.into_client_request().map_err(|error| Ended::Unwanted(error.to_string()))?;
    let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let mut value = HeaderValue::from_str(&value).map_err(|_| no_token(&options.token, "it is no token"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, value);
    Ok(request)
}

pub async fn read_token(source: &SecretSource) -> Result<Token, Ended> {
    let text = match source {
        SecretSource::Text(secret) => Ok(secret.expose().to_owned()),
        SecretSource::File(path) => tokio::fs::read_to_string(path).await,
    };
    let text = Zeroizing::new(text.map_err(|error| no_token(source, &error.to_string()))?);
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(no_token(source, "it must hold the gateway's token and nothing else"));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

fn no_token(source: &SecretSource, why: &str) -> Ended {
    let place = match source {
        SecretSource::Text(_) => "the setting `token`".to_owned(),
        SecretSource::File(path) => path.display().to_string(),
    };
    Ended::Unwanted(format!("no token in {place}: {why}. The last good snapshot stays in force"))
}

fn renewal(source: &SecretSource) -> String {
    match source {
        SecretSource::Text(_) => "set `token` to it, then restart".to_owned(),
        SecretSource::File(path) => format!("write it to {}", path.display()),
    }
}
