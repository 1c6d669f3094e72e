use axum::body::Body;
use axum::http::Request;

use crate::support::Api;

fn web_app() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("dist");
    std::fs::create_dir_all(dist.join("assets")).unwrap();
    std::fs::write(dist.join("index.html"), "<!doctype html><title>NexaVPN</title>").unwrap();
    std::fs::write(dist.join("assets/app.js"), "export {}").unwrap();
    std::fs::write(folder.path().join("secret"), "not for the web").unwrap();
    folder
}

#[tokio::test]
async fn the_web_app_is_served_under_a_strict_policy() {
    let folder = web_app();
    let api = Api::with_web(&folder.path().join("dist")).await;
    let anyone = api.anonymous();
    let page = anyone.get("/").await;
    assert!(page.text.contains("<title>NexaVPN</title>"), "{}", page.text);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let script = anyone.get("/assets/app.js").await;
    assert_eq!(script.headers["content-type"], "text/javascript");
}

#[tokio::test]
async fn the_web_app_hides_no_route_and_opens_no_other_file() {
    let folder = web_app();
    let api = Api::with_web(&folder.path().join("dist")).await;
    let anyone = api.anonymous();
    assert_eq!(anyone.get("/healthz").await.text, "ok\n");
    anyone.get("/api/v1/users").await.problem(401, "unauthenticated");
    for path in ["/api/v1/nope", "/nope", "/assets/nope.js", "/../secret", "/%2e%2e/secret", "/..%2fsecret"] {
        anyone.get(path).await.problem(404, "no_such_route");
    }
    let post = Request::post("/index.html").body(Body::empty()).unwrap();
    anyone.send(post).await.problem(404, "no_such_route");
    anyone.delete("/api/v1/users").await.problem(405, "method_not_allowed");
}
