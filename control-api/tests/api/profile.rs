use std::process::Command;

use serde_json::json;

use crate::support::{Api, Client, key};

async fn connect_gateway(api: &Api, admin: &Client) -> (serde_json::Value, String) {
    let gateway = admin.make_gateway().await;
    let key = key();
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key).await;
    stream.snapshot().await;
    (gateway, key)
}

#[tokio::test]
async fn a_profile_routes_to_devices_that_a_granted_resource_is() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (alice, bob) = (api.user("alice", "user").await, api.user("bob", "user").await);
    let (own, theirs, off) = (alice.enrol().await, bob.enrol().await, bob.enrol().await);
    let disabled = format!("/api/v1/devices/{}", off["id"].as_str().unwrap());
    admin.patch(&disabled, json!({ "disabled": true })).await.ok(200);
    let resource = admin
        .post(
            "/api/v1/resources",
            json!({ "name": "laptops", "devices": [{ "kind": "everyone" }], "traffic": [{ "protocol": "any" }] }),
        )
        .await
        .ok(201);
    admin.make_rule(json!({ "kind": "user", "id": alice.id }), &resource).await;
    connect_gateway(&api, &admin).await;

    let routes = async |client: &Client, device: &serde_json::Value| {
        let path = format!("/api/v1/devices/{}/profile", device["id"].as_str().unwrap());
        client.get(&path).await.ok(200)["allowed_ips"].clone()
    };
    let tunnel = json!(["100.96.0.1/32", "fd6e:7861::1/128"]);
    assert_eq!(routes(&bob, &theirs).await, tunnel);
    let [v4, v6] = ["v4", "v6"].map(|family| theirs[family].as_str().unwrap().to_owned());
    let expected = json!(["100.96.0.1/32", format!("{v4}/32"), "fd6e:7861::1/128", format!("{v6}/128")]);
    assert_eq!(routes(&alice, &own).await, expected);
}

#[tokio::test]
async fn a_profile_routes_what_is_granted_and_nothing_else() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let device = alice.enrol().await;
    let group = admin.make_group().await;
    let member = format!("/api/v1/groups/{}/members/{}", group["id"].as_str().unwrap(), alice.id);
    admin.call("PUT", &member, None).await.ok(204);
    for (cidrs, who) in [
        (&["10.20.0.0/24", "fd20::/64"][..], json!({ "kind": "group", "id": group["id"] })),
        (&["10.20.1.0/24"], json!({ "kind": "user", "id": alice.id })),
        (&["10.20.0.7", "10.30.0.0/16"], json!({ "kind": "device", "id": device["id"] })),
        (&["10.40.0.0/16"], json!({ "kind": "everyone" })),
    ] {
        let resource = admin.make_resource(cidrs).await;
        admin.make_rule(who, &resource).await;
    }
    // Another user's, a denied and a disabled one are not granted.
    let resource = admin.make_resource(&["10.50.0.0/16"]).await;
    admin.make_rule(json!({ "kind": "user", "id": admin.id }), &resource).await;
    let off = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    admin.patch(&format!("/api/v1/rules/{}", off["id"]), json!({ "enabled": false })).await.ok(200);
    let (who, what) =
        (json!([{ "kind": "everyone" }]), json!([{ "kind": "resource", "id": resource["id"] }]));
    admin.post("/api/v1/rules", json!({ "effect": "deny", "who": who, "what": what })).await.ok(201);
    admin.make_resource(&["10.60.0.0/16"]).await;

    let (gateway, gateway_key) = connect_gateway(&api, &admin).await;
    let path = format!("/api/v1/devices/{}/profile", device["id"].as_str().unwrap());
    let profile = alice.get(&path).await.ok(200);
    let revision = admin.get("/api/v1/network").await.ok(200)["revision"].clone();
    assert_eq!(
        profile,
        json!({
            "device": { "id": device["id"], "name": device["name"], "public_key": device["public_key"] },
            "address_v4": "100.96.0.2", "address_v6": "fd6e:7861::2", "dns": [], "mtu": 1420, "revision": revision,
            "gateways": [{ "id": gateway["id"], "name": gateway["name"], "public_key": gateway_key, "endpoint": "10.99.0.10:51900" }],
            "allowed_ips": ["10.20.0.0/23", "10.30.0.0/16", "10.40.0.0/16", "100.96.0.1/32", "fd20::/64", "fd6e:7861::1/128"],
        })
    );
    assert_eq!(admin.get(&path).await.ok(200), profile);

    admin.delete(&member).await.ok(204);
    let allowed = alice.get(&path).await.ok(200)["allowed_ips"].clone();
    assert_eq!(
        allowed,
        json!([
            "10.20.0.7/32",
            "10.20.1.0/24",
            "10.30.0.0/16",
            "10.40.0.0/16",
            "100.96.0.1/32",
            "fd6e:7861::1/128"
        ])
    );
}

#[tokio::test]
async fn the_wg_quick_file_is_one_that_wg_quick_takes() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let body = json!({ "name": "[Peer] # x; PostUp = reboot", "public_key": key() });
    let device = admin.post("/api/v1/devices", body).await.ok(201);
    let path = format!("/api/v1/devices/{}/wg-quick", device["id"].as_str().unwrap());
    admin.get(&path).await.problem(409, "no_gateway");
    let (gateway, gateway_key) = connect_gateway(&api, &admin).await;
    let reply = admin.get(&path).await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let device_key = device["public_key"].as_str().unwrap();
    let gateway_name = gateway["name"].as_str().unwrap();
    let expected = format!(
        "# [Peer] # x; PostUp = reboot ({device_key})\n[Interface]\nPrivateKey = REPLACE_WITH_YOUR_PRIVATE_KEY\n\
         Address = 100.96.0.2/32, fd6e:7861::2/128\nMTU = 1420\n\n# {gateway_name}\n[Peer]\nPublicKey = {gateway_key}\n\
         Endpoint = 10.99.0.10:51900\nAllowedIPs = 100.96.0.1/32, fd6e:7861::1/128\nPersistentKeepalive = 25\n"
    );
    assert_eq!(reply.text, expected);

    let folder = std::env::temp_dir().join(format!("nexa-wg-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("wg0.conf");
    std::fs::write(&file, reply.text.replace("REPLACE_WITH_YOUR_PRIVATE_KEY", &key())).unwrap();
    let stripped = Command::new("wg-quick").arg("strip").arg(&file).output();
    std::fs::remove_dir_all(&folder).unwrap();
    // Where wireguard-tools are not installed, the text above has to do.
    if let Ok(stripped) = stripped {
        assert!(stripped.status.success(), "{}", String::from_utf8_lossy(&stripped.stderr));
        let text = String::from_utf8(stripped.stdout).unwrap();
        assert!(text.contains(&gateway_key) && !text.contains("MTU"), "{text}");
    }
}
