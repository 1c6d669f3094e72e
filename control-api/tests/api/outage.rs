use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Api, Proxy, eventually, key};

#[tokio::test]
async fn while_postgres_is_away_requests_get_503_and_afterwards_all_goes_on() {
    let direct = Api::start().await;
    let mut proxy = Proxy::new();
    let api = Api::over(proxy.way_to(&direct.database)).await;
    let admin = direct.owner().await;
    let mut away = api.anonymous();
    away.token = admin.token.clone();
    let gateway = admin.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;

    proxy.cut().await;
    let reply = away.get("/api/v1/users").await;
    reply.problem(503, "database_unavailable");
    assert_eq!(reply.headers["retry-after"], "1");
    away.get("/readyz").await.problem(503, "database_unavailable");
    assert_eq!(away.get("/healthz").await.status, 200);
    away.post("/api/v1/groups", json!({ "name": "g" })).await.problem(503, "database_unavailable");

    // Made by another server: this one's doorbell cannot ring.
    admin.make_resource(&["10.0.0.0/8"]).await;
    proxy.restore();
    let restored = Instant::now();
    eventually("requests are served again", async || away.get("/readyz").await.status == 200).await;
    assert!(restored.elapsed() < Duration::from_secs(5), "{:?}", restored.elapsed());
    assert_eq!(stream.snapshot().await.resources.len(), 1, "on the same stream");
    admin.make_resource(&["10.0.0.0/8"]).await;
    assert_eq!(stream.snapshot().await.resources.len(), 2);
    assert_eq!(away.get("/api/v1/groups").await.ok(200)["items"], json!([]));
}

#[tokio::test]
async fn sessions_that_the_server_kills_are_replaced() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let gateway = admin.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    for round in 1..=5 {
        api.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
             AND pid <> pg_backend_pid()",
        )
        .await;
        eventually("requests are served again", async || {
            let reply = admin.get("/readyz").await;
            assert!(matches!(reply.status.as_u16(), 200 | 503), "{}", reply.text);
            reply.status == 200
        })
        .await;
        admin.make_resource(&["10.0.0.0/8"]).await;
        assert_eq!(stream.snapshot().await.resources.len(), round);
    }
}
