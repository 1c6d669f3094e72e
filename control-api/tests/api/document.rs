use nexa_control::http::openapi;

#[test]
fn the_committed_document_is_the_servers() {
    let committed = include_str!("../../openapi.json");
    let current = openapi().to_pretty_json().unwrap();
    assert!(
        committed.trim_end() == current,
        "openapi.json is stale; write it anew: cargo run -p nexa-control -- openapi > control-api/openapi.json"
    );
}
