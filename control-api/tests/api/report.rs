//! What gateways report of their enforcement, and who reads it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nexa_types::{DeviceId, Generation, Revision, RuleId};
use nexa_wire::drops::{Direction, Dropped, Route};
use nexa_wire::gateway::{
    Counters, DropCounter, DropReport, FromGateway, Health, MAX_DROPS, PeerCounters, Refusal, RuleCounters,
};
use nexa_wire::local::{Difference, NearMiss};
use serde_json::{Value, json};

use crate::support::{Api, Client, Stream, eventually, key};

/// A gateway whose stream is up.
async fn connected(api: &Api, admin: &Client) -> (String, Stream) {
    let gateway = admin.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    (gateway["id"].as_str().unwrap().to_owned(), stream)
}

fn device_id(device: &Value) -> DeviceId {
    device["id"].as_str().unwrap().parse().unwrap()
}

fn rule_id(rule: &Value) -> RuleId {
    RuleId(rule["id"].as_u64().unwrap().try_into().unwrap())
}

fn rule_counters(rule: Option<RuleId>, allowed_packets: u64) -> RuleCounters {
    let allowed_bytes = allowed_packets.saturating_mul(100);
    RuleCounters { rule, allowed_packets, allowed_bytes, denied_packets: 0, denied_bytes: 0 }
}

fn peer_counters(device: DeviceId, received_packets: u64, no_rule: u64) -> PeerCounters {
    let drops = BTreeMap::from([("no_rule".to_owned(), no_rule), ("made up".to_owned(), 1)]);
    let received_bytes = received_packets.saturating_mul(100);
    PeerCounters { device, received_packets, received_bytes, sent_packets: 0, sent_bytes: 0, drops }
}

fn no_rule(packets: u64) -> DropCounter {
    DropCounter { reason: "no_rule".to_owned(), direction: Direction::Ingress, packets }
}

/// A packet that no rule speaks of, to a port.
fn dropped(port: u16) -> Dropped {
    let at: DateTime<Utc> = "2026-11-25T02:00:00Z".parse().unwrap();
    Dropped {
        first_at: at,
        last_at: at,
        packets: 3,
        untold_packets: 1,
        direction: Direction::Ingress,
        route: Some(Route {
            source: "100.96.0.2".parse().unwrap(),
            source_port: 40_000,
            destination: "10.20.0.10".parse().unwrap(),
            destination_port: port,
            protocol: 6,
        }),
        reason: "no_rule".to_owned(),
        rule: None,
        generation: Generation(5),
        excluded: None,
        nearest: Some(NearMiss {
            rule: RuleId(17),
            differs: Difference::Port { allowed: vec!["443".parse().unwrap()] },
        }),
    }
}

async fn packets_of_rule(admin: &Client, rule: RuleId) -> Value {
    admin.get(&format!("/api/v1/rules/{rule}")).await.ok(200)["hits"]["packets"].clone()
}

#[tokio::test]
async fn counters_go_on_over_restarts_of_a_gateway_and_add_up_over_gateways() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let device = device_id(&alice.enrol().await);
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    let rule = rule_id(&admin.make_rule(json!({ "kind": "everyone" }), &resource).await);
    let untouched = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    let (gateway, first) = connected(&api, &admin).await;
    let (_, second) = connected(&api, &admin).await;

    let gone = (DeviceId(uuid::Uuid::now_v7()), RuleId(9999));
    let report = |packets| {
        FromGateway::Counters(Counters {
            peers: vec![peer_counters(device, packets, 2), peer_counters(gone.0, 5, 5)],
            rules: vec![
                rule_counters(Some(rule), packets),
                rule_counters(Some(gone.1), 7),
                rule_counters(Some(RuleId(0)), 4),
                rule_counters(None, 9),
            ],
            drops: vec![no_rule(packets), no_rule(packets)],
        })
    };
    // The third is less than the second: the gateway's host started anew.
    let mut streams = [first, second];
    for (position, (stream, reported, sum)) in
        [(0, 10, 10), (0, 25, 25), (0, 3, 28), (0, 3, 28), (1, 100, 128)].into_iter().enumerate()
    {
        streams[stream].send(&report(reported)).await;
        // Frames are taken in their order.
        let revision = 1000 + position;
        streams[stream].send(&FromGateway::Ack { revision: Revision(revision as u64) }).await;
        let taken = format!("SELECT count(*) FROM gateways WHERE applied_revision = {revision}");
        eventually("the report is stored", async || api.scalar::<i64>(&taken).await == 1).await;
        assert_eq!(packets_of_rule(&admin, rule).await, sum, "after {reported}");
    }
    let rules = admin.get("/api/v1/rules").await.ok(200);
    let shown =
        |id: &Value| rules["items"].as_array().unwrap().iter().find(|item| item["id"] == *id).cloned();
    let hits = shown(&json!(rule)).unwrap()["hits"].clone();
    assert_eq!((&hits["packets"], &hits["bytes"]), (&json!(128), &json!(12_800)));
    assert!(hits["last_hit_at"].is_string());
    let none = json!({ "packets": 0, "bytes": 0, "last_hit_at": null });
    assert_eq!(shown(&untouched["id"]).unwrap()["hits"], none);

    let counters = alice.get(&format!("/api/v1/devices/{device}/counters")).await.ok(200);
    assert_eq!((&counters["received_packets"], &counters["received_bytes"]), (&json!(128), &json!(12_800)));
    assert_eq!(counters["drops"], json!([{ "reason": "no_rule", "packets": 4 }]), "{counters}");
    let health = admin.get(&format!("/api/v1/gateways/{gateway}/health")).await.ok(200);
    assert_eq!(health["reported_at"], Value::Null, "of its health it told nothing");
    assert_eq!((&health["implicit"]["packets"], &health["default_deny"]["packets"]), (&json!(4), &json!(9)));
    assert_eq!(health["drops"], json!([{ "reason": "no_rule", "direction": "ingress", "packets": 28 }]));

    // The same again is no later hit, and numbers beyond the database's are no error.
    let last_hit =
        format!("SELECT last_hit_at FROM rule_counters WHERE rule_id = {rule} AND gateway_id = '{gateway}'");
    let before: DateTime<Utc> = api.scalar(&last_hit).await;
    streams[0].send(&report(3)).await;
    streams[0].send(&FromGateway::Ack { revision: Revision(2000) }).await;
    streams[1].send(&report(u64::MAX)).await;
    eventually("the sum is the largest", async || packets_of_rule(&admin, rule).await == i64::MAX).await;
    let taken = "SELECT count(*) FROM gateways WHERE applied_revision = 2000";
    eventually("the first's is stored", async || api.scalar::<i64>(taken).await == 1).await;
    assert_eq!(api.scalar::<DateTime<Utc>>(&last_hit).await, before);
    // A rule that is removed takes its counters along.
    admin.delete(&format!("/api/v1/rules/{rule}")).await.ok(204);
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM rule_counters WHERE kind = 'rule'").await, 0);
}

#[tokio::test]
async fn a_gateways_health_is_shown_and_a_drift_is_remembered() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (gateway, mut stream) = connected(&api, &admin).await;
    let path = format!("/api/v1/gateways/{gateway}/health");
    let shown = async || admin.get(&path).await.ok(200);
    assert_eq!(shown().await["generation"], Value::Null);

    let health = |generation, drift, refusal| {
        FromGateway::Health(Health {
            generation: Generation(generation),
            content_hash: Some(format!("aa{}", "b".repeat(200))),
            drift_entries: Some(drift),
            policy_repairs: 1,
            refusal,
        })
    };
    let refusal = Refusal { revision: Revision(8), reason: "no room\nforged line".to_owned() };
    stream.send(&health(5, 2, Some(refusal))).await;
    eventually("the drift is shown", async || shown().await["drift_entries"] == 2).await;
    let told = shown().await;
    assert_eq!(
        (&told["refused_revision"], &told["refused_reason"]),
        (&json!(8), &json!("no roomforged line"))
    );
    assert_eq!(told["content_hash"].as_str().unwrap().len(), 64);
    assert!(told["drifted_at"].is_string() && told["reported_at"].is_string());

    stream.send(&health(6, 0, None)).await;
    eventually("the next health is shown", async || shown().await["generation"] == 6).await;
    let later = shown().await;
    assert_eq!((&later["drift_entries"], &later["refused_reason"]), (&json!(0), &Value::Null));
    assert_eq!(later["drifted_at"], told["drifted_at"]);
}

#[tokio::test]
async fn drops_are_listed_with_their_nearest_rule_and_found_by_what_they_are() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (mine, other) = (admin.enrol().await, admin.enrol().await);
    let (gateway, mut stream) = connected(&api, &admin).await;
    let ruled = Dropped {
        reason: "rule_deny".to_owned(),
        rule: Some(RuleId(9)),
        nearest: None,
        last_at: "2026-11-25T03:00:00Z".parse().unwrap(),
        ..dropped(22)
    };
    let unreadable = Dropped {
        route: None,
        reason: "malformed".to_owned(),
        direction: Direction::Egress,
        nearest: None,
        ..dropped(0)
    };
    let forged = Dropped { reason: "two\nlines".to_owned(), ..dropped(1) };
    let drops = vec![
        DropReport { device: Some(device_id(&mine)), dropped: dropped(8443) },
        DropReport { device: Some(device_id(&other)), dropped: ruled },
        DropReport { device: None, dropped: unreadable },
        DropReport { device: None, dropped: forged },
    ];
    stream.send(&FromGateway::Drops { drops, missed: 0 }).await;
    eventually("the drops are listed", async || {
        admin.get("/api/v1/drops").await.ok(200)["items"].as_array().unwrap().len() == 3
    })
    .await;

    let find =
        async |query: &str| admin.get(&format!("/api/v1/drops?{query}")).await.ok(200)["items"].clone();
    let found = find(&format!("device={}", mine["id"].as_str().unwrap())).await;
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let mut event = found[0].clone();
    assert!(event.as_object_mut().unwrap().remove("id").is_some());
    assert_eq!(
        event,
        json!({ "gateway_id": gateway, "device_id": mine["id"], "device_name": mine["name"],
                "username": mine["username"], "first_at": "2026-11-25T02:00:00Z", "last_at": "2026-11-25T02:00:00Z",
                "packets": 3, "untold_packets": 1, "direction": "ingress", "source": "100.96.0.2",
                "source_port": 40000, "destination": "10.20.0.10", "destination_port": 8443, "protocol": 6,
                "reason": "no_rule", "rule_id": null, "generation": 5, "nearest_rule_id": 17,
                "nearest": "rule 17 allows 443, you used 8443" })
    );
    let by_rule = find("rule=9").await;
    assert_eq!((&by_rule[0]["device_id"], by_rule.as_array().unwrap().len()), (&other["id"], 1));
    assert_eq!(find("since=2026-11-25T02:30:00Z").await, by_rule);
    assert_eq!(find("reason=rule_deny").await, by_rule);
    let unreadable = find("reason=malformed").await;
    assert_eq!((&unreadable[0]["source"], &unreadable[0]["direction"]), (&Value::Null, &json!("egress")));
    assert_eq!(find(&format!("gateway={gateway}")).await.as_array().unwrap().len(), 3);
    assert_eq!(find(&format!("gateway={}", uuid::Uuid::now_v7())).await, json!([]));

    let page = admin.get("/api/v1/drops?limit=2").await.ok(200);
    let next = format!("/api/v1/drops?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    let last = admin.get(&next).await.ok(200);
    assert_eq!((last["items"].as_array().unwrap().len(), &last["next_cursor"]), (1, &Value::Null));
    admin.get("/api/v1/drops?device=nonsense").await.invalid("invalid_query", "query");
    admin.get("/api/v1/drops?cursor=x").await.invalid("invalid_cursor", "cursor");

    // They outlive neither their device nor their gateway.
    admin.delete(&format!("/api/v1/devices/{}", mine["id"].as_str().unwrap())).await.ok(204);
    assert_eq!(find("").await.as_array().unwrap().len(), 2);
    admin.delete(&format!("/api/v1/gateways/{gateway}")).await.ok(204);
    assert_eq!(find("").await, json!([]));
}

#[tokio::test]
async fn a_gateway_fills_its_own_room_for_drops_and_no_more() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (gateway, mut stream) = connected(&api, &admin).await;
    let (_, mut second) = connected(&api, &admin).await;
    let health = Health {
        generation: Generation(1),
        content_hash: None,
        drift_entries: None,
        policy_repairs: 0,
        refusal: None,
    };
    stream.send(&FromGateway::Health(health)).await;
    second.send(&FromGateway::Drops { drops: reports(1), missed: 0 }).await;
    let rows = async |of: &str| {
        api.scalar::<i64>(&format!("SELECT count(*) FROM drop_events WHERE gateway_id {of} '{gateway}'"))
            .await
    };
    eventually("the other's is there", async || rows("<>").await == 1).await;
    // As if it had told of many before.
    api.execute(&format!(
        "INSERT INTO drop_events (gateway_id, first_at, last_at, packets, untold_packets, direction, reason, generation)
         SELECT '{gateway}', now(), now(), 1, 0, 'ingress', 'early', 1 FROM generate_series(1, 9990)"
    ))
    .await;
    stream.send(&FromGateway::Drops { drops: reports(MAX_DROPS + 44), missed: 6 }).await;
    eventually("the newest are there", async || {
        api.scalar::<i64>("SELECT count(*) FROM drop_events WHERE reason = 'no_rule'").await
            == MAX_DROPS as i64 + 1
    })
    .await;
    eventually("the oldest are gone", async || rows("=").await == 10_000).await;
    assert_eq!(rows("<>").await, 1);
    let shown = admin.get(&format!("/api/v1/gateways/{gateway}/health")).await.ok(200);
    assert_eq!(shown["missed_drops"], 50);

    // What is old goes, whoever told it.
    api.execute("UPDATE drop_events SET received_at = now() - interval '8 days' WHERE reason = 'early'")
        .await;
    // A server that starts begins with clearing away.
    let _starting = Api::over(api.database.clone()).await;
    eventually("the old ones are cleared away", async || rows("=").await == MAX_DROPS as i64).await;
}

fn reports(number: usize) -> Vec<DropReport> {
    vec![DropReport { device: None, dropped: dropped(8443) }; number]
}

#[tokio::test]
async fn reasons_that_a_gateway_makes_up_are_bounded() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let device = device_id(&admin.enrol().await);
    let (_, mut stream) = connected(&api, &admin).await;
    let letters = |n: usize| format!("r{}", "x".repeat(n));
    for round in 0..3 {
        let names = (0..200).map(|n| format!("{}{}", letters(n % 60), ["a", "b", "c"][round]));
        let drops = names
            .clone()
            .map(|reason| DropCounter { reason, direction: Direction::Egress, packets: 1 })
            .collect();
        let of_peer = names.map(|reason| (reason, 1)).collect();
        let peers = vec![PeerCounters { drops: of_peer, ..peer_counters(device, round as u64 + 1, 0) }];
        stream.send(&FromGateway::Counters(Counters { peers, rules: vec![], drops })).await;
    }
    eventually("all is stored", async || {
        api.scalar::<i64>("SELECT COALESCE(max(reported_received_packets), 0) FROM device_counters").await
            == 3
    })
    .await;
    assert!(api.scalar::<i64>("SELECT count(*) FROM gateway_drops").await <= 128);
    assert!(api.scalar::<i64>("SELECT count(*) FROM device_drops").await <= 128);
}
