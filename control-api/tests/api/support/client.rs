use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use uuid::Uuid;

/// Someone who calls the API.
#[derive(Clone)]
pub struct Client {
    router: Router,
    pub token: Option<String>,
    /// The caller's user id.
    pub id: Uuid,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(router: Router, token: Option<String>, id: Uuid) -> Self {
        Self { router, token, id }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.call("PUT", path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call("PATCH", path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path, None).await
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let request = Request::builder().method(method).uri(path);
        match body {
            Some(body) => {
                self.send(
                    request.header("content-type", "application/json").body(body.to_string().into()).unwrap(),
                )
                .await
            }
            None => self.send(request.body(Body::empty()).unwrap()).await,
        }
    }

    pub async fn send(&self, mut request: Request<Body>) -> Reply {
        if let Some(token) = &self.token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply { status: parts.status, headers: parts.headers, text }
    }
}

impl Reply {
    /// The body, after the status was as expected.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// Expects a whole problem of this status and code, and gives it without its request's id, which is of its own.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let mut problem = self.json();
        let id = problem.as_object_mut().and_then(|problem| problem.remove("request_id"));
        assert_eq!(id.unwrap_or_default(), self.headers["x-request-id"].to_str().unwrap());
        let found = (self.status.as_u16(), problem["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{}", self.text);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{}", self.text);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{}", self.text);
        problem
    }

    /// Expects a 422 with this code that blames this field.
    #[track_caller]
    pub fn invalid(&self, code: &str, field: &str) {
        let problem = self.problem(422, code);
        assert_eq!(problem["field"], field, "{}", self.text);
    }
}
