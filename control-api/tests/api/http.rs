use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{Api, Log};

#[tokio::test]
async fn what_there_is_not_is_a_problem_too() {
    let api = Api::start().await;
    let anyone = api.anonymous();
    for path in ["/nope", "/api/v1/nope", "/api/v2/users"] {
        anyone.get(path).await.problem(404, "no_such_route");
    }
    let reply = anyone.delete("/api/v1/users").await;
    reply.problem(405, "method_not_allowed");
    let allowed = reply.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn bodies_that_are_too_large_or_no_json_are_refused() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        let request = Request::post("/api/v1/groups").header("content-type", content_type);
        request.body(Body::from(body)).unwrap()
    };
    let name = |length: usize| format!(r#"{{"name":"{}"}}"#, "x".repeat(length)).into_bytes();
    admin.send(post("application/json", name(64 << 10))).await.problem(413, "body_too_large");
    admin.send(post("application/json", name((64 << 10) - 11))).await.invalid("invalid_name", "name");
    let chunks = futures_util::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 10])));
    let request = Request::post("/api/v1/groups").header("content-type", "application/json");
    admin.send(request.body(Body::from_stream(chunks)).unwrap()).await.problem(413, "body_too_large");

    for broken in ["", "{", "nope", r#"{"name":"x"} {}"#, "{\"name\":\"\u{0}"] {
        admin.send(post("application/json", broken.into())).await.problem(400, "malformed_json");
    }
    admin.send(post("application/json", vec![0xff])).await.problem(400, "malformed_json");
    admin.send(post("application/json", b"[]".to_vec())).await.problem(422, "invalid_body");
    admin.send(post("text/plain", name(3))).await.problem(415, "unsupported_media_type");
    admin.send(post("application/json; charset=utf-8", name(3))).await.ok(201);
    // Nothing of it is read for whom it is not served.
    api.anonymous().send(post("application/json", name(64 << 10))).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn health_and_documents_are_there_for_everyone() {
    let api = Api::start().await;
    let anyone = api.anonymous();
    assert_eq!(anyone.get("/healthz").await.text, "ok\n");
    assert_eq!(anyone.get("/readyz").await.text, "ready\n");
    assert!(anyone.get("/api/docs/").await.text.contains("swagger-ui"));
    assert_eq!(anyone.get("/api/openapi.json").await.ok(200)["info"]["title"], "NexaVPN control API");
}

#[tokio::test]
async fn the_stream_wants_a_websocket() {
    let api = Api::start().await;
    let mut gateway = api.anonymous();
    gateway.token = api.owner().await.make_gateway().await["token"].as_str().map(str::to_owned);
    gateway.get("/api/v1/gateway/stream").await.problem(400, "websocket_required");
    assert_eq!(json!(gateway.get("/api/v1/me").await.problem(401, "unauthenticated")["status"]), 401);
}

#[tokio::test]
async fn an_answer_and_every_line_that_is_logged_about_it_have_the_requests_id() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let log = Log::start();
    let named = |id: &str, name: &str| {
        let request = Request::post("/api/v1/groups").header("content-type", "application/json");
        request.header("x-request-id", id).body(Body::from(json!({ "name": name }).to_string())).unwrap()
    };

    let reply = admin.send(named("from-the-proxy.1", "g")).await;
    assert_eq!(reply.headers["x-request-id"], "from-the-proxy.1");
    let lines = log.lines();
    assert!(
        lines.iter().any(|line| line["message"] == "change committed" && line["action"] == "group.create")
    );
    assert!(lines.iter().any(|line| line["message"] == "request" && line["status"] == 201), "{lines:?}");
    for line in &lines {
        assert_eq!(line["span"]["request_id"], "from-the-proxy.1", "{line}");
    }

    let too_long = "x".repeat(65);
    for bad in ["short", "with a blank", "quote\"quote", &too_long] {
        let reply = admin.send(named(bad, "g")).await;
        let problem = reply.problem(409, "name_taken");
        let own: uuid::Uuid = problem["request_id"].as_str().unwrap().parse().expect("a new one");
        assert_eq!(reply.headers["x-request-id"], own.to_string().as_str());
        assert_eq!(log.lines().last().unwrap()["span"]["request_id"], own.to_string());
    }
}
