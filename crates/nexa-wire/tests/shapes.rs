//! The messages as they stand on the wire. A failing test here means that older peers will not understand.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use nexa_types::Revision;
use nexa_wire::doctor::{Finding, Report};
use nexa_wire::gateway::{FromGateway, ToGateway};
use nexa_wire::local::{Answer, Question, Request};
use nexa_wire::snapshot::{SealError, Sealed, Snapshot};

const SNAPSHOT: &str = include_str!("snapshot-v1.json");

fn sample() -> Snapshot {
    serde_json::from_str(SNAPSHOT).unwrap()
}

#[test]
fn a_snapshot_of_version_1_reads_and_writes_back_the_same() {
    let written = serde_json::to_value(sample()).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(SNAPSHOT).unwrap());
}

#[test]
fn limits_of_a_rule_in_time_are_read_and_written_back_and_none_that_is_unknown_is_passed_over() {
    let when = r#""effect": "allow", "when": {"valid_from": "2026-12-01T00:00:00Z", "weekly": [
        {"days": ["mon", "fri"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}]}"#;
    let limited = SNAPSHOT.replace(r#""effect": "allow""#, when);
    let snapshot: Snapshot = serde_json::from_str(&limited).unwrap();
    assert!(!snapshot.rules[0].when.is_always() && sample().rules[0].when.is_always());
    let written = serde_json::to_value(snapshot).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(&limited).unwrap());
    let unknown = limited.replace("valid_from", "valid_sometimes");
    assert!(serde_json::from_str::<Snapshot>(&unknown).is_err());
}

#[test]
fn a_sealed_snapshot_survives_the_frame_byte_for_byte() {
    let sealed = Sealed::new(Revision(7), &sample()).unwrap();
    let frame = serde_json::to_string(&ToGateway { snapshot: Some(sealed) }).unwrap();
    let received: ToGateway = serde_json::from_str(&frame).unwrap();
    assert_eq!(received.snapshot.unwrap().open().unwrap(), sample());
}

#[test]
fn a_changed_text_or_revision_is_refused_whole() {
    let mut sealed = Sealed::new(Revision(7), &sample()).unwrap();
    sealed.revision = Revision(8);
    assert!(matches!(sealed.open(), Err(SealError::Hash { revision: Revision(8) })));

    let mut sealed = Sealed::new(Revision(7), &sample()).unwrap();
    let altered = sealed.snapshot.get().replace("10.20.0.0/24", "10.20.0.0/16");
    sealed.snapshot = serde_json::value::RawValue::from_string(altered).unwrap();
    assert!(matches!(sealed.open(), Err(SealError::Hash { .. })));
}

#[test]
fn a_snapshot_of_a_later_format_is_refused_before_anything_of_it_is_read() {
    for rest in ["", ", \"peers\": {\"by_device\": []}"] {
        let text = serde_json::value::RawValue::from_string(format!("{{\"format\": 2{rest}}}")).unwrap();
        let refused = Sealed::of_text(Revision(9), text).open().unwrap_err();
        assert!(matches!(refused, SealError::Format { revision: Revision(9), format: 2 }), "{refused:?}");
        assert!(refused.to_string().ends_with("upgrade the gateway"), "{refused}");
    }
    let named = SNAPSHOT.replacen('{', "{\"format\": 1,", 1);
    let text = serde_json::value::RawValue::from_string(named).unwrap();
    assert_eq!(Sealed::of_text(Revision(9), text).open().unwrap(), sample());
}

#[test]
fn a_resource_that_says_everything_by_leaving_ports_out_is_refused() {
    let without_ports = SNAPSHOT.replace(r#", "ports": "443""#, "");
    assert_ne!(without_ports, SNAPSHOT, "the sample must hold what the test takes away");
    assert!(serde_json::from_str::<Snapshot>(&without_ports).is_err());
}

#[test]
fn frames_of_unknown_types_are_known_to_be_unknown() {
    assert_eq!(serde_json::from_str::<FromGateway>(r#"{"type":"later"}"#).unwrap(), FromGateway::Unknown);
    assert!(serde_json::from_str::<ToGateway>(r#"{"later":{}}"#).unwrap().snapshot.is_none());
}

#[test]
fn gateway_frames_have_the_shape_of_version_1() {
    let hello = r#"{"type":"hello","protocol":1,"version":"0.1.0","public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","applied":7,"applied_hash":"ab12"}"#;
    let first = r#"{"type":"hello","protocol":1,"version":"0.1.0","public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","applied":null}"#;
    let ack = r#"{"type":"ack","revision":7}"#;
    let refused = r#"{"type":"refused","revision":7,"reason":"why"}"#;
    let peers = r#"{"type":"peers","peers":[{"device":"0199e7a0-0000-7000-8000-000000000004","last_handshake_unix":null,"received_bytes":1,"sent_bytes":2}]}"#;
    let health = r#"{"type":"health","generation":5,"content_hash":"aa","drift_entries":0,"policy_repairs":1,"refusal":{"revision":8,"reason":"why"}}"#;
    let new = r#"{"type":"health","generation":0,"content_hash":null,"drift_entries":null,"policy_repairs":0,"refusal":null}"#;
    let counters = r#"{"type":"counters","peers":[{"device":"0199e7a0-0000-7000-8000-000000000004","received_packets":1,"received_bytes":2,"sent_packets":3,"sent_bytes":4,"drops":{"no_rule":1}}],"rules":[{"rule":null,"allowed_packets":0,"allowed_bytes":0,"denied_packets":1,"denied_bytes":60},{"rule":17,"allowed_packets":5,"allowed_bytes":6,"denied_packets":0,"denied_bytes":0}],"drops":[{"reason":"no_rule","direction":"ingress","packets":1}]}"#;
    let drops = format!(
        r#"{{"type":"drops","drops":[{{"device":"0199e7a0-0000-7000-8000-000000000004",{DROPPED}}},{{"device":null,{UNREADABLE}}}],"missed":2}}"#
    );
    for text in [hello, first, ack, refused, peers, health, new, counters, &drops] {
        let frame: FromGateway = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&frame).unwrap(), text);
    }
}

/// What is told of packets that were dropped.
const DROPPED: &str = r#""first_at":"2026-11-25T02:00:00Z","last_at":"2026-11-25T02:00:01.250Z","packets":3,"untold_packets":1,"direction":"ingress","source":"100.96.0.2","source_port":40000,"destination":"10.20.0.10","destination_port":8443,"protocol":6,"reason":"no_rule","generation":5,"nearest":{"rule":17,"differs":"port","allowed":["443"]}"#;
const UNREADABLE: &str = r#""first_at":"2026-11-25T02:00:00Z","last_at":"2026-11-25T02:00:00Z","packets":1,"untold_packets":0,"direction":"egress","reason":"malformed","generation":5"#;

#[test]
fn drops_of_the_local_socket_have_this_shape_and_read_like_this() {
    for text in [
        r#"{"version":1,"ask":"drops","follow":false}"#,
        r#"{"version":1,"ask":"drops","peer":"laptop","follow":true}"#,
    ] {
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
    }
    let denied =
        DROPPED.replace("no_rule", "rule_deny").replace(r#""generation""#, r#""rule":9,"generation""#);
    let denied = denied.split(r#","nearest""#).next().unwrap();
    let excluded = DROPPED
        .replace("no_rule", "excluded")
        .replace("10.20.0.10", "100.96.0.3")
        .replace(r#""generation":5"#, r#""generation":5,"excluded":"tunnel_pool""#);
    let excluded = excluded.split(r#","nearest""#).next().unwrap();
    let peer = r#""device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada""#;
    let text = format!(
        r#"{{"answer":"drops","drops":[{{{peer},{DROPPED}}},{{{peer},{denied}}},{{{peer},{excluded}}},{{{UNREADABLE}}}],"missed":0}}"#
    );
    let answer: Answer = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&answer).unwrap(), text);
    let Answer::Drops { drops, .. } = answer else { panic!() };
    let text: Vec<String> = drops.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "2026-11-25T02:00:01Z laptop of Ada: tcp 100.96.0.2 port 40000 to 10.20.0.10 port 8443, refused, because no \
             rule speaks of it; rule 17 allows 443, you used 8443 (3 packets, generation 5)",
            "2026-11-25T02:00:01Z laptop of Ada: tcp 100.96.0.2 port 40000 to 10.20.0.10 port 8443, refused by rule 9 (3 \
             packets, generation 5)",
            "2026-11-25T02:00:01Z laptop of Ada: tcp 100.96.0.2 port 40000 to 100.96.0.3 port 8443, refused, because no range \
             of a resource covers devices; a rule has to name them (3 packets, generation 5)",
            "2026-11-25T02:00:00Z no device: unreadable, dropped: malformed (1 packet, generation 5)",
        ]
    );
}

fn report() -> Report {
    let findings = vec![
        Finding::ok("kernel-version", "kernel 6.1 or newer", "this is 6.18.0"),
        Finding::warning("clock", "clock", "7 s behind", "start chrony"),
        Finding::problem("forward-drop", "forwarding", "refused by x", "first\nsecond"),
        Finding::skipped("mtu", "MTU", "uplink is not set"),
    ];
    Report { program: "nexa-gateway".into(), version: "0.1.0".into(), findings }
}

#[test]
fn a_doctor_s_report_has_this_shape() {
    let text = r#"{"program":"nexa-gateway","version":"0.1.0","findings":[{"check":"kernel-version","title":"kernel 6.1 or newer","severity":"ok","found":"this is 6.18.0"},{"check":"clock","title":"clock","severity":"warning","found":"7 s behind","remedy":"start chrony"},{"check":"forward-drop","title":"forwarding","severity":"problem","found":"refused by x","remedy":"first\nsecond"},{"check":"mtu","title":"MTU","severity":"skipped","found":"uplink is not set"}]}"#;
    assert_eq!(serde_json::to_string(&report()).unwrap(), text);
    assert_eq!(serde_json::from_str::<Report>(text).unwrap(), report());
}

#[test]
fn a_doctor_s_report_reads_like_this() {
    let text = "✓ kernel 6.1 or newer: this is 6.18.0\n! clock: 7 s behind\n  → start chrony\n\
                ✗ forwarding: refused by x\n  → first\n    second\n– MTU: uplink is not set\n\
                nexa-gateway 0.1.0: 1 problem, 1 warning, 1 not looked at\n";
    assert_eq!(report().to_string(), text);
    assert!(report().has_problem());
    let good =
        Report { findings: report().findings.into_iter().filter(|f| !f.is_problem()).collect(), ..report() };
    assert!(!good.has_problem(), "a warning is no problem");
}

/// Each question and answer of the local socket, as it stands on the wire.
const LOCAL: [&str; 13] = [
    r#"{"version":1,"ask":"status"}"#,
    r#"{"version":1,"ask":"explain","peer":"laptop","destination":"10.20.0.10","protocol":"tcp","port":8443}"#,
    r#"{"version":1,"ask":"verify"}"#,
    r#"{"answer":"status","version":"0.1.0","interface":"wg0","listen_port":51900,"public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","revision":7,"hash":"ab12","age_seconds":90061,"generation":3,"connected":true,"drift_entries":0,"peers":[{"device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","public_key":"TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=","addresses":["100.96.0.2","fd6e:7861::2"],"endpoint":"192.0.2.21:51820","last_handshake_unix":1000,"received_bytes":1536,"sent_bytes":5}]}"#,
    r#"{"answer":"explained","device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","query":{"peer":"laptop","destination":"10.20.0.10","protocol":"tcp","port":8443},"revision":7,"generation":3,"policy":{"verdict":"no_rule"},"nearest":{"rule":17,"differs":"port","allowed":["443"]},"kernel":{"verdict":"no_rule"}}"#,
    r#"{"answer":"explained","device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","query":{"peer":"laptop","destination":"10.20.0.10","protocol":"icmp"},"revision":7,"generation":3,"policy":{"verdict":"allow","rule":17},"kernel":{"verdict":"drop","reason":"lease_expired"}}"#,
    r#"{"answer":"verified","generation":3,"maps":[{"map":"PORTS","equal":4,"missing":1,"extra":0,"different":0}],"intended_hash":"aa","found_hash":"bb","repaired":4}"#,
    r#"{"answer":"refused","reason":"why"}"#,
    r#"{"answer":"flows","flows":[{"device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","source":"100.96.0.2","source_port":40000,"destination":"10.20.0.10","destination_port":443,"protocol":6,"rule":17,"phase":"answered","idle_seconds":3}],"total":1}"#,
    r#"{"answer":"flows","flows":[],"total":0}"#,
    r#"{"answer":"explained","device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","query":{"peer":"laptop","destination":"10.20.0.10","protocol":"tcp","port":443},"revision":7,"generation":3,"policy":{"verdict":"no_rule"},"nearest":{"rule":17,"differs":"time","next":"2026-11-26T07:00:00Z"},"kernel":{"verdict":"no_rule"}}"#,
    r#"{"answer":"explained","device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","query":{"peer":"laptop","destination":"10.20.0.10","protocol":"tcp","port":443},"revision":7,"generation":3,"policy":{"verdict":"no_rule"},"nearest":{"rule":17,"differs":"time"},"kernel":{"verdict":"no_rule"}}"#,
    r#"{"answer":"explained","device":"0199e7a0-0000-7000-8000-000000000004","name":"laptop","owner":"Ada","query":{"peer":"laptop","destination":"169.254.169.254","protocol":"tcp","port":80},"revision":7,"generation":3,"policy":{"verdict":"excluded","what":"metadata"},"kernel":{"verdict":"excluded","what":"metadata"}}"#,
];

#[test]
fn questions_and_answers_of_the_local_socket_have_this_shape() {
    for text in &LOCAL[..3] {
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), *text);
    }
    for text in &LOCAL[3..] {
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), *text);
    }
    for text in [
        r#"{"version":1,"ask":"flows"}"#,
        r#"{"version":1,"ask":"flows","peer":"laptop"}"#,
        r#"{"version":1,"ask":"flows","follow":true}"#,
    ] {
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
    }
    let later: Request = serde_json::from_str(r#"{"version":1,"ask":"later","more":1}"#).unwrap();
    assert_eq!(later.question, Question::Unknown);
}

#[test]
fn answers_of_the_local_socket_read_like_this() {
    let read = |position: usize| serde_json::from_str::<Answer>(LOCAL[position]).unwrap();
    let Answer::Status(status) = read(3) else { panic!() };
    let text = status.at(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1075)).to_string();
    let wanted = "interface: wg0\n  public key: xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n  listening port: 51900\n  \
                  snapshot: revision 7, ab12\n  confirmed: 1 day, 1 hour ago\n  control plane: connected\n  \
                  kernel: generation 3, verified\n  version: 0.1.0\n\npeer: laptop of Ada\n  \
                  device: 0199e7a0-0000-7000-8000-000000000004\n  \
                  public key: TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n  endpoint: 192.0.2.21:51820\n  \
                  allowed ips: 100.96.0.2/32, fd6e:7861::2/128\n  latest handshake: 1 minute, 15 seconds ago\n  \
                  transfer: 1.50 KiB received, 5 B sent\n";
    assert_eq!(text, wanted);

    let Answer::Explained(refused) = read(4) else { panic!() };
    let text = "laptop of Ada to tcp 8443 of 10.20.0.10: refused, because no rule speaks of it\n  \
                nearest: rule 17 allows 443, you used 8443\n  policy: revision 7, generation 3\n  kernel: the same\n";
    assert_eq!(refused.to_string(), text);
    let Answer::Explained(excluded) = read(12) else { panic!() };
    let text = "laptop of Ada to tcp 80 of 169.254.169.254: refused, because no range of a resource covers a cloud's \
                metadata service\n  policy: revision 7, generation 3\n  kernel: the same\n";
    assert_eq!(excluded.to_string(), text);
    let Answer::Explained(late) = read(5) else { panic!() };
    let text = "laptop of Ada to icmp of 10.20.0.10: allowed by rule 17\n  policy: revision 7, generation 3\n  \
                kernel: dropped before any rule is asked: lease_expired\n";
    assert_eq!(late.to_string(), text);
    for (position, nearest) in [
        (10, "rule 17 allows it, but not now: next from 2026-11-26 07:00:00 UTC"),
        (11, "rule 17 allowed it, but its time is over"),
    ] {
        let Answer::Explained(untimely) = read(position) else { panic!() };
        assert!(untimely.to_string().contains(&format!("  nearest: {nearest}\n")), "{untimely}");
    }
    let Answer::Flows { flows, .. } = read(8) else { panic!() };
    let text = "laptop of Ada: tcp 100.96.0.2 port 40000 to 10.20.0.10 port 443, answered, allowed by rule 17, \
                last heard 3 seconds ago";
    assert_eq!(flows[0].to_string(), text);
    let Answer::Verified(verified) = read(6) else { panic!() };
    let text = "generation 3\n  PORTS: 4 equal, 1 missing, 0 extra, 0 different\n  intended: aa\n  found:    bb\n\
                1 entry is not as intended; generation 4 was written over it.\n";
    assert_eq!(verified.to_string(), text);
}
