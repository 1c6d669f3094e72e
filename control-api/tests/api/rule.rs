use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, key};

#[tokio::test]
async fn a_rule_is_made_shown_changed_and_removed() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (group, device) = (admin.make_group().await, admin.enrol().await);
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    let who = json!([{ "kind": "group", "id": group["id"] }, { "kind": "user", "id": admin.id },
                     { "kind": "device", "id": device["id"] }, { "kind": "everyone" }]);
    let what = json!([{ "kind": "resource", "id": resource["id"] }]);
    let body = json!({ "effect": "deny", "who": who, "what": what, "note": "for now" });
    let made = admin.post("/api/v1/rules", body).await.ok(201);
    assert!(made["id"].is_u64());
    assert_eq!((&made["effect"], &made["who"], &made["what"]), (&json!("deny"), &who, &what));
    assert_eq!((&made["note"], &made["enabled"]), (&json!("for now"), &json!(true)));
    let path = format!("/api/v1/rules/{}", made["id"]);
    let with_no_hits = |mut rule: Value| {
        rule["hits"] = json!({ "packets": 0, "bytes": 0, "last_hit_at": null });
        rule
    };
    assert_eq!(admin.get(&path).await.ok(200), with_no_hits(made.clone()));
    let changed = admin.patch(&path, json!({ "note": "later", "enabled": false })).await.ok(200);
    assert_eq!((&changed["note"], &changed["enabled"]), (&json!("later"), &json!(false)));
    assert_eq!(admin.get("/api/v1/rules").await.ok(200)["items"], json!([with_no_hits(changed)]));

    admin.delete(&path).await.ok(204);
    admin.get(&path).await.problem(404, "not_found");
    admin.patch(&path, json!({ "note": "gone" })).await.problem(404, "not_found");
    let again = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    assert!(again["id"].as_u64() > made["id"].as_u64(), "numbers are never reused");
    for id in ["0", "-1", "4294967295", "99999999999", "x"] {
        admin.get(&format!("/api/v1/rules/{id}")).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn bad_rules_are_refused_with_field_and_code_and_nothing_is_written() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (group, resource) = (admin.make_group().await, admin.make_resource(&["10.0.0.0/8"]).await);
    let everyone = || json!({ "kind": "everyone" });
    let member = || json!({ "kind": "group", "id": group["id"] });
    let target = || json!({ "kind": "resource", "id": resource["id"] });
    let absent = |kind: &str| json!({ "kind": kind, "id": Uuid::now_v7() });
    let rule = |who: Value, what: Value| json!({ "effect": "allow", "who": who, "what": what });
    let cases = [
        (rule(json!([]), json!([target()])), "empty_list", "who"),
        (rule(json!([everyone()]), json!([])), "empty_list", "what"),
        (rule(json!([everyone(), absent("group")]), json!([target()])), "unknown_id", "who[1].id"),
        (rule(json!([absent("user")]), json!([target()])), "unknown_id", "who[0].id"),
        (rule(json!([absent("device")]), json!([target()])), "unknown_id", "who[0].id"),
        (rule(json!([{ "kind": "user", "id": group["id"] }]), json!([target()])), "unknown_id", "who[0].id"),
        (rule(json!([everyone()]), json!([target(), absent("resource")])), "unknown_id", "what[1].id"),
        (rule(json!([member(), member()]), json!([target()])), "duplicate", "who[1]"),
        (rule(json!([everyone()]), json!([target(), target()])), "duplicate", "what[1]"),
        (rule(json!([{ "kind": "group" }]), json!([target()])), "id_missing", "who[0].id"),
        (
            rule(json!([{ "kind": "everyone", "id": group["id"] }]), json!([target()])),
            "id_not_allowed",
            "who[0].id",
        ),
        (rule(json!([{ "kind": "planet" }]), json!([target()])), "invalid_body", "who[0].kind"),
        (rule(json!([{ "kind": "group", "id": "x" }]), json!([target()])), "invalid_body", "who[0].id"),
        (json!({ "effect": "maybe", "who": [everyone()], "what": [target()] }), "invalid_body", "effect"),
        (json!({ "who": [everyone()], "what": [target()] }), "invalid_body", "effect"),
        (
            json!({ "effect": "allow", "who": [everyone()], "what": [target()], "note": "a\nb" }),
            "invalid_text",
            "note",
        ),
    ];
    for (body, code, field) in cases {
        admin.post("/api/v1/rules", body).await.invalid(code, field);
    }
    assert_eq!(admin.get("/api/v1/rules").await.ok(200)["items"], json!([]));
    let made = admin.make_rule(everyone(), &resource).await;
    admin
        .patch(&format!("/api/v1/rules/{}", made["id"]), json!({ "effect": "deny" }))
        .await
        .invalid("invalid_body", "effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_and_a_switch_at_once_do_not_undo_each_other() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    let rule = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    let path = format!("/api/v1/rules/{}", rule["id"]);
    for round in 0..20 {
        let (note, enabled) = (format!("round {round}"), round % 2 == 0);
        let (noted, switched) = tokio::join!(
            admin.patch(&path, json!({ "note": note })),
            admin.patch(&path, json!({ "enabled": enabled })),
        );
        noted.ok(200);
        switched.ok(200);
        let shown = admin.get(&path).await.ok(200);
        assert_eq!((&shown["note"], &shown["enabled"]), (&json!(note), &json!(enabled)));
    }
}

#[tokio::test]
async fn a_rule_speaks_at_the_times_that_it_was_given_and_gateways_are_told() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    let gateway = admin.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    let when = json!({
        "valid_from": "2026-12-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00.5Z",
        "weekly": [{ "days": ["mon", "fri"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin" },
                   { "days": ["sun"], "from": "00:00", "to": "24:00", "zone": "UTC" }],
    });
    let made = admin
        .post(
            "/api/v1/rules",
            json!({ "effect": "allow", "who": [{ "kind": "everyone" }],
                    "what": [{ "kind": "resource", "id": resource["id"] }], "when": when }),
        )
        .await
        .ok(201);
    // Nanoseconds are written in threes.
    let mut shown = when.clone();
    shown["valid_until"] = json!("2027-01-01T00:00:00.500Z");
    assert_eq!(made["when"], shown);
    let path = format!("/api/v1/rules/{}", made["id"]);
    assert_eq!(admin.get(&path).await.ok(200)["when"], shown);
    let told = stream.snapshot().await.rules.remove(0);
    assert_eq!(serde_json::to_value(&told.when).unwrap(), shown);

    let noted = admin.patch(&path, json!({ "note": "as before" })).await.ok(200);
    assert_eq!(noted["when"], shown, "what is left out stays");
    let always = admin.patch(&path, json!({ "when": {} })).await.ok(200);
    assert_eq!(always["when"], json!({}));
    assert!(stream.snapshot().await.rules[0].when.is_always());
}

#[tokio::test]
async fn times_that_make_no_sense_are_refused_with_field_and_code() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    let made = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    let path = format!("/api/v1/rules/{}", made["id"]);
    assert_eq!(made["when"], json!({}));
    let weekly = |days: Value, from: &str, to: &str, zone: &str| {
        json!({ "weekly": [{ "days": ["mon"], "from": "08:00", "to": "09:00", "zone": "UTC" },
                           { "days": days, "from": from, "to": to, "zone": zone }] })
    };
    let window = json!({ "days": ["mon"], "from": "08:00", "to": "09:00", "zone": "UTC" });
    let days = || json!(["mon", "tue"]);
    let cases = [
        (
            json!({ "valid_from": "2027-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z" }),
            "empty_period",
            "when.valid_until",
        ),
        (json!({ "weekly": vec![window; 51] }), "too_many", "when.weekly"),
        (weekly(json!([]), "08:00", "18:00", "UTC"), "empty_list", "when.weekly[1].days"),
        (weekly(json!(["mon", "mon"]), "08:00", "18:00", "UTC"), "duplicate", "when.weekly[1].days[1]"),
        (weekly(json!(["monday"]), "08:00", "18:00", "UTC"), "invalid_body", "when.weekly[1].days[0]"),
        (weekly(days(), "8:00", "18:00", "UTC"), "invalid_time", "when.weekly[1].from"),
        (weekly(days(), "08:00", "24:01", "UTC"), "invalid_time", "when.weekly[1].to"),
        (weekly(days(), "24:00", "08:00", "UTC"), "invalid_time", "when.weekly[1].from"),
        (weekly(days(), "08:00", "08:00", "UTC"), "empty_window", "when.weekly[1].to"),
        (weekly(days(), "08:00", "18:00", "Berlin"), "unknown_zone", "when.weekly[1].zone"),
        (json!({ "valid_from": "tomorrow" }), "invalid_body", "when.valid_from"),
        (json!({ "monthly": [] }), "invalid_body", "when.monthly"),
    ];
    for (when, code, field) in cases {
        let body = json!({ "effect": "allow", "who": [{ "kind": "everyone" }],
                           "what": [{ "kind": "resource", "id": resource["id"] }], "when": when });
        admin.post("/api/v1/rules", body).await.invalid(code, field);
        admin.patch(&path, json!({ "when": when })).await.invalid(code, field);
    }
    let berlin = json!({ "when": weekly(days(), "08:00", "18:00", "Berlin") });
    let refused = admin.patch(&path, berlin).await.problem(422, "unknown_zone");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.ends_with("did you mean Europe/Berlin?"), "{detail}");
    assert_eq!(admin.get("/api/v1/rules").await.ok(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get(&path).await.ok(200)["when"], json!({}));
}
