use serde_json::{Value, json};

use crate::support::Api;

fn network(v4: &str, v6: &str, mtu: u32) -> Value {
    json!({ "pool_v4": v4, "pool_v6": v6, "mtu": mtu })
}

#[tokio::test]
async fn the_network_has_defaults_and_changes_while_there_are_no_devices() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let shown = admin.get("/api/v1/network").await.ok(200);
    assert_eq!(
        shown,
        json!({ "pool_v4": "100.96.0.0/16", "pool_v6": "fd6e:7861::/64", "tunnel_v4": "100.96.0.1",
                "tunnel_v6": "fd6e:7861::1", "mtu": 1420, "revision": 1 })
    );
    assert_eq!(
        admin.put("/api/v1/network", network("100.96.0.0/16", "fd6e:7861::/64", 1420)).await.ok(200),
        shown
    );
    let changed = admin.put("/api/v1/network", network("10.7.0.0/24", "fd07::/64", 1400)).await.ok(200);
    assert_eq!((&changed["tunnel_v4"], &changed["tunnel_v6"]), (&json!("10.7.0.1"), &json!("fd07::1")));
    assert_eq!(admin.get("/api/v1/network").await.ok(200), changed);
    assert_eq!(changed["revision"], 2);
    assert_eq!(admin.enrol().await["v4"], "10.7.0.2");
    admin.put("/api/v1/network", network("10.7.0.0/23", "fd07::/64", 1400)).await.problem(409, "pool_in_use");
    admin.put("/api/v1/network", network("10.7.0.0/24", "fd08::/64", 1400)).await.problem(409, "pool_in_use");
    assert_eq!(
        admin.put("/api/v1/network", network("10.7.0.0/24", "fd07::/64", 1380)).await.ok(200)["mtu"],
        1380
    );
}

#[tokio::test]
async fn bad_pools_are_refused() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (v4, v6) = ("10.7.0.0/24", "fd07::/64");
    for (body, code, field) in [
        (network("10.7.0.1/24", v6, 1420), "host_bits", "pool_v4"),
        (network("pool", v6, 1420), "invalid_cidr", "pool_v4"),
        (network(v6, v6, 1420), "invalid_pool", "pool_v4"),
        (network(v4, v4, 1420), "invalid_pool", "pool_v6"),
        (network("10.7.0.0/31", v6, 1420), "invalid_pool", "pool_v4"),
        (network("0.0.0.0/0", v6, 1420), "invalid_pool", "pool_v4"),
        (network("127.1.0.0/16", v6, 1420), "invalid_pool", "pool_v4"),
        (network("224.0.0.0/8", v6, 1420), "invalid_pool", "pool_v4"),
        (network("169.254.0.0/16", v6, 1420), "invalid_pool", "pool_v4"),
        (network(v4, "fe80::/64", 1420), "invalid_pool", "pool_v6"),
        (network(v4, "ff02::/64", 1420), "invalid_pool", "pool_v6"),
        (network(v4, "::ffff:0:0/96", 1420), "invalid_pool", "pool_v6"),
        (network(v4, "fd07::/127", 1420), "invalid_pool", "pool_v6"),
        (network(v4, v6, 1279), "invalid_mtu", "mtu"),
        (network(v4, v6, 9001), "invalid_mtu", "mtu"),
        (network(v4, v6, 70000), "invalid_body", "mtu"),
    ] {
        admin.put("/api/v1/network", body).await.invalid(code, field);
    }
}
