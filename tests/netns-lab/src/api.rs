//! The HTTP API, called from inside a namespace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::{Agent, http::Request};

use crate::namespace::{Handle, Namespace};

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(15);

/// A caller of the API.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    agent: Agent,
    handle: Arc<Handle>,
    token: Option<String>,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body: JSON where it is JSON, else its text; null without one.
    pub body: Value,
    /// When it had arrived.
    pub at: Instant,
    /// After how many seconds to try again, if the API says so.
    pub retry_after: Option<u64>,
}

impl Api {
    /// A caller without a session, from this namespace.
    ///
    /// # Errors
    /// When the namespace's handle cannot be shared.
    pub fn new(base: &str, from: &Namespace) -> Result<Self> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            // control-api is stopped and started: a kept connection would fail once.
            .max_idle_connections(0)
            .timeout_global(Some(LIMIT))
            .build()
            .into();
        Ok(Self { base: base.to_owned(), agent, handle: Arc::new(from.handle()?), token: None })
    }

    /// Calls with this session from now on.
    pub fn set_token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// The session's token, if there is a session.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Calls; any status is an answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        // A thread of its own enters the namespace, and is gone afterwards.
        std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                self.handle.enter()?;
                self.send(method, path, body)
            });
            call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .with_context(|| format!("{method} {path}"))
    }

    /// Reads; any status is an answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.call("GET", path, None)
    }

    /// Reads what must be there.
    ///
    /// # Errors
    /// When the status is not 200.
    pub fn read(&self, path: &str) -> Result<Value> {
        Ok(self.get(path)?.expect(&[200])?.body)
    }

    /// Makes something, which must succeed.
    ///
    /// # Errors
    /// When the status is not 201.
    pub fn create(&self, path: &str, body: &Value) -> Result<Value> {
        Ok(self.call("POST", path, Some(body))?.expect(&[201])?.body)
    }

    /// Deletes something, which must succeed.
    ///
    /// # Errors
    /// When the status is not 204.
    pub fn delete(&self, path: &str) -> Result<Answer> {
        self.call("DELETE", path, None)?.expect(&[204])
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body.to_string()).context("no request")?)
            }
            None => self.agent.run(request.body(()).context("no request")?),
        }?;
        let text = answer.body_mut().read_to_string().context("cannot read the answer")?;
        let at = Instant::now();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: answer.status().as_u16(), body, at, retry_after })
    }
}

impl Answer {
    /// Passes on an answer of one of these statuses.
    ///
    /// # Errors
    /// With what the API said, for any other.
    pub fn expect(self, statuses: &[u16]) -> Result<Self> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        bail!("the API answered {} instead of {statuses:?}: {}", self.status, self.body)
    }

    /// The stable code of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("(no code)")
    }
}

/// A member that must be a text.
///
/// # Errors
/// When it is not.
pub fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str> {
    value[member].as_str().with_context(|| format!("no text `{member}` in {value}"))
}
