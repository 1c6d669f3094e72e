//! `wg`: show, showconf, set, setconf, addconf, syncconf.

use crate::pair::{End, configuration, connect, pair, text, wg};

/// Both ends with `nexa-wg`, and a session.
fn connected() -> [End; 2] {
    let mut ends = pair();
    ends.iter_mut().for_each(End::start);
    connect(&ends);
    ends
}

/// Messages of a session are padded to a multiple of this. An initiation has 148 bytes, a response 92.
const PADDING: u64 = 16;

/// Bytes received and sent, of one peer.
fn transfer(end: &End) -> [u64; 2] {
    let shown = end.shown("transfer");
    let mut fields = shown.split_whitespace().skip(1).map(|field| field.parse().unwrap());
    [fields.next().unwrap(), fields.next().unwrap()]
}

/// Pings once, and returns whether that took no new session.
fn pings_in_session(end: &End, to: &str) -> bool {
    let [_, before] = transfer(end);
    end.pings(to) && (transfer(end)[1] - before).is_multiple_of(PADDING)
}

#[test]
fn what_is_set_is_shown_and_counted() {
    let [a, b] = connected();
    assert_eq!(a.shown("public-key").trim(), a.public());
    assert_eq!(a.shown("listen-port").trim(), "51820");
    assert!(b.shown("endpoints").contains("10.99.0.1:51820"));
    assert!(b.shown("persistent-keepalive").contains("\t25"));
    assert!(!a.shown("latest-handshakes").ends_with("\t0\n"));
    a.until("equal counters", |a| {
        let ([received, sent], other) = (transfer(a), transfer(&b));
        other == [sent, received] && sent > 0
    });
    let shown = text(b.wg(&["showconf", &b.interface]));
    assert!(shown.contains(&b.private) && shown.contains(&a.public()), "{shown}");
    text(b.configure("setconf", &shown));
    b.until("an answer as it was shown", |end| end.pings("10.98.0.1"));
}

#[test]
fn a_configuration_is_synced_and_added_without_ending_a_session() {
    let [a, b] = connected();
    let third = wg(&["pubkey"], &wg(&["genkey"], ""));
    let more = format!("[Peer]\nPublicKey = {third}AllowedIPs = 10.98.1.0/24\n");
    text(a.configure("addconf", &more));
    assert!(a.shown("allowed-ips").contains("10.98.1.0/24"));
    text(a.configure("syncconf", &configuration(&a, &b, "")));
    assert!(!a.shown("allowed-ips").contains("10.98.1.0/24"), "who is not in it is gone");
    text(a.set("fwmark 0x77"));
    assert_eq!(a.shown("fwmark").trim(), "0x77");
    assert!(pings_in_session(&a, "10.98.0.2"));
}

#[test]
fn another_port_is_taken_at_once_and_the_peer_follows() {
    let [a, b] = connected();
    text(a.set("listen-port 51821"));
    assert!(pings_in_session(&a, "10.98.0.2"), "from the new port");
    assert!(b.shown("endpoints").contains("10.99.0.1:51821"));
    assert!(pings_in_session(&b, "10.98.0.1"));
}

#[test]
fn an_endpoint_set_again_moves_a_peer_that_was_seen_elsewhere() {
    let [a, b] = connected();
    text(a.set("listen-port 51821"));
    assert!(a.pings("10.98.0.2"), "b has seen a at another port");
    text(a.set("listen-port 51820"));
    text(b.set(&format!("peer {} endpoint 10.99.0.1:51820", a.public())));
    assert!(b.pings("10.98.0.1"));
}

#[test]
fn an_endpoint_on_a_link_is_taken_by_its_interface_and_shown() {
    let [a, b] = connected();
    for (end, address) in [(&a, "fe80::1"), (&b, "fe80::2")] {
        end.ns.ip([format!("address add {address}/64 dev eth0 nodad")]).unwrap();
    }
    let place = "[fe80::1%eth0]:51820";
    text(b.set(&format!("peer {} endpoint {place}", a.public())));
    assert!(pings_in_session(&b, "10.98.0.1"));
    assert!(b.shown("endpoints").contains(place), "{}", b.shown("endpoints"));
    assert!(a.shown("endpoints").contains("[fe80::"), "and answers go back: {}", a.shown("endpoints"));
    let shown = text(b.wg(&["showconf", &b.interface]));
    text(b.configure("syncconf", &shown));
    assert!(pings_in_session(&b, "10.98.0.1"), "as it was shown");
}

#[test]
fn a_key_and_a_preshared_key_bind_both_ends() {
    let [mut a, b] = connected();
    let psk = wg(&["genpsk"], "");
    let with_psk = format!("PresharedKey = {psk}");
    text(a.configure("syncconf", &configuration(&a, &b, &with_psk)));
    assert!(!b.pings("10.98.0.1"), "only one end knows it");
    let endpoint = format!("Endpoint = 10.99.0.1:51820\n{with_psk}");
    text(b.configure("syncconf", &configuration(&b, &a, &endpoint)));
    b.until("an answer", |end| end.pings("10.98.0.1"));

    a.private = wg(&["genkey"], "").trim().to_owned();
    text(a.configure("syncconf", &configuration(&a, &b, &with_psk)));
    assert!(!b.pings("10.98.0.1"), "the other end knows another key");
    text(b.configure("syncconf", &configuration(&b, &a, &endpoint)));
    b.until("an answer of the new key", |end| end.pings("10.98.0.1"));
}

#[test]
fn what_is_refused_has_changed_nothing() {
    let [a, b] = connected();
    let third = wg(&["pubkey"], &wg(&["genkey"], "")).trim().to_owned();
    let shown = text(a.wg(&["showconf", &a.interface]));
    for (arguments, said) in [
        // Of the peer that has it kernel WireGuard would take it away.
        (format!("listen-port 51999 peer {third} allowed-ips 10.98.0.0/24"), "Address already in use"),
        (format!("listen-port 51999 peer {third} endpoint 255.255.255.255:1"), "Invalid argument"),
        (format!("listen-port 51999 peer {} allowed-ips 10.5.0.0/24", a.public()), "Invalid argument"),
    ] {
        let refused = a.set(&arguments);
        assert!(!refused.status.success(), "{arguments}");
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains(said), "{arguments}: {why}");
        assert_eq!(text(a.wg(&["showconf", &a.interface])), shown, "{arguments}");
    }
    let taken = a.ns.run(|| std::net::UdpSocket::bind(("0.0.0.0", 51822)).unwrap()).unwrap();
    let refused = a.set(&format!("listen-port 51822 peer {third} allowed-ips 10.5.0.0/24"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Address already in use"));
    assert_eq!(text(a.wg(&["showconf", &a.interface])), shown);
    drop(taken);
    assert!(pings_in_session(&b, "10.98.0.1"));
}

#[test]
fn an_allowed_ip_moves_when_both_peers_are_named_in_one_request() {
    let [a, b] = connected();
    let third = wg(&["pubkey"], &wg(&["genkey"], "")).trim().to_owned();
    text(
        a.set(&format!("peer {third} allowed-ips 10.98.0.0/24 peer {} allowed-ips 10.5.0.0/24", b.public())),
    );
    let shown = a.shown("allowed-ips");
    assert!(shown.contains(&format!("{third}\t10.98.0.0/24")), "{shown}");
    assert!(!b.pings("10.98.0.1"), "its source is another peer's");
}
