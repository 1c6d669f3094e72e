use proptest::prelude::*;

use super::*;

const KEY: &str = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a";

fn set(lines: &str) -> Set {
    match parse(format!("set=1\n{lines}").as_bytes()).unwrap() {
        Request::Set(set) => set,
        Request::Get => panic!("a set was asked for"),
    }
}

fn fault(lines: &str) -> BadRequest {
    parse(format!("set=1\n{lines}").as_bytes()).unwrap_err()
}

#[test]
fn get_is_one_line() {
    assert!(matches!(parse(b"get=1"), Ok(Request::Get)));
    assert!(matches!(parse(b"get=1\nlisten_port=1"), Err(BadRequest::Key(2, _))));
    for bad in ["", "get=2", "set=0", "listen_port=1", "get =1"] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn everything_that_wg_writes_is_read() {
    let read = set(&format!(
        "private_key={KEY}\nlisten_port=12912\nfwmark=51820\nreplace_peers=true\npublic_key={KEY}\n\
         preshared_key={KEY}\nprotocol_version=1\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/32\n\
         allowed_ip=-fd00::/8\nendpoint=[abcd:23::33]:51820\npersistent_keepalive_interval=111\npublic_key={KEY}\nremove=true"
    ));
    assert!(matches!(read.private_key, Some(Some(_))));
    assert_eq!((read.listen_port, read.fwmark), (Some(12912), Some(51820)));
    assert_eq!(read.peers_before, Before::Replaced);
    let [first, second] = read.peers.as_slice() else { panic!("two peers") };
    assert!(matches!(first.preshared_key, Some(Some(_))));
    assert_eq!(first.endpoint, "[abcd:23::33]:51820".parse().ok());
    assert_eq!(first.persistent_keepalive, Some(111));
    assert_eq!(first.allowed_ips_before, Before::Replaced);
    let (added, removed) = ("192.168.4.4".parse().unwrap(), "fd00::/8".parse().unwrap());
    assert_eq!(first.allowed_ips, [AllowedIp::Add(added), AllowedIp::Remove(removed)]);
    assert_eq!(second.presence, Presence::Unwanted);
}

#[test]
fn an_endpoint_may_name_its_interface() {
    let read = |value: &str| set(&format!("public_key={KEY}\nendpoint={value}")).peers[0].endpoint;
    // The loopback interface is the first of every namespace.
    assert_eq!(read("[fe80::1%lo]:7"), "[fe80::1%1]:7".parse().ok());
    assert_eq!(read("[fe80::1%3]:7"), "[fe80::1%3]:7".parse().ok());
    for bad in
        ["[fe80::1%nowhere]:7", "[fe80::1%lo]:+7", "[fe80::1%lo]", "[%lo]:7", "fe80::1%lo:7", "[fe80::1%]:7"]
    {
        let refused = fault(&format!("public_key={KEY}\nendpoint={bad}"));
        assert_eq!(refused, BadRequest::Value(3, "endpoint".to_owned()), "{bad}");
    }
}

#[test]
fn zero_keys_are_none_and_zero_is_no_peer() {
    let zero = "0".repeat(64);
    assert!(matches!(set(&format!("private_key={zero}")).private_key, Some(None)));
    let read = set(&format!("public_key={KEY}\npreshared_key={zero}"));
    assert!(matches!(read.peers[0].preshared_key, Some(None)));
    assert_eq!(fault(&format!("public_key={zero}")), BadRequest::Value(2, "public_key".to_owned()));
}

#[test]
fn host_bits_of_allowed_ips_are_cut_off() {
    let read = set(&format!("public_key={KEY}\nallowed_ip=10.1.2.3/8"));
    assert_eq!(read.peers[0].allowed_ips, [AllowedIp::Add("10.0.0.0/8".parse().unwrap())]);
}

#[test]
fn what_is_wrong_is_named_by_its_line_and_never_by_its_value() {
    for line in [
        "listen_port=65536",
        "listen_port=+1",
        "fwmark=x",
        "replace_peers=yes",
        "private_key=e8",
        "private_key=g84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a",
    ] {
        let key = line.split('=').next().unwrap().to_owned();
        let fault = fault(line);
        assert_eq!(fault, BadRequest::Value(2, key), "{line}");
        assert!(!fault.to_string().contains("e8"), "{fault}");
    }
    for line in
        ["endpoint=1.2.3.4", "endpoint=host:1", "allowed_ip=10.0.0.0/33", "protocol_version=2", "remove=1"]
    {
        assert!(matches!(fault(&format!("public_key={KEY}\n{line}")), BadRequest::Value(3, _)), "{line}");
    }
    assert!(matches!(fault("allowed_ip=10.0.0.0/8"), BadRequest::Key(2, _)), "of no peer");
    assert!(matches!(fault(&format!("public_key={KEY}\nlisten_port=1")), BadRequest::Key(3, _)));
    assert_eq!(fault("listen_port"), BadRequest::NotALine(2));
    assert_eq!(fault("\n"), BadRequest::NotALine(2));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_lines_are_too_strange(
        lines in proptest::collection::vec(
            ("(public_key|allowed_ip|endpoint|fwmark|remove|update_only|preshared_key|x)",
             "(true|-?[0-9a-f.:/%\\[\\]]{0,70})"),
            0..12,
        ),
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("\n{key}={value}")).collect();
        let _ = parse(format!("set=1\npublic_key={KEY}{text}").as_bytes());
    }
}
