//! The messages as they stand on the wire. A failing test here means that older peers will not understand.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use nexa_types::Revision;
use nexa_wire::gateway::{FromGateway, ToGateway};
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
    for text in [hello, first, ack, refused, peers] {
        let frame: FromGateway = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&frame).unwrap(), text);
    }
}
