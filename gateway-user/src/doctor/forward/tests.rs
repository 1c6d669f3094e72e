//! Rulesets as nft 1.0.6 prints them.

use serde_json::{Value, json};

use super::*;

fn chain(family: &str, table: &str, name: &str) -> Value {
    json!({ "chain": { "family": family, "table": table, "name": name } })
}

fn base(family: &str, table: &str, name: &str, policy: &str) -> Value {
    json!({ "chain": { "family": family, "table": table, "name": name, "hook": "forward", "prio": 0, "policy": policy } })
}

fn rule(chain: &str, expressions: Value) -> Value {
    json!({ "rule": { "family": "ip", "table": "filter", "chain": chain, "expr": expressions } })
}

fn meta(key: &str, op: &str, right: Value) -> Value {
    json!({ "match": { "op": op, "left": { "meta": { "key": key } }, "right": right } })
}

fn state(right: Value) -> Value {
    json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": right } })
}

fn look_at(objects: Vec<Value>) -> Vec<Finding> {
    let ruleset = Ruleset::parse(&json!({ "nftables": objects }).to_string()).unwrap();
    look(&ruleset, &"wg0".parse().unwrap())
}

/// One FORWARD chain of policy accept with these rules; its finding, as text.
fn with_rules(rules: Vec<Value>) -> String {
    let rules = rules.into_iter().map(|expressions| rule("FORWARD", expressions));
    let findings = look_at(std::iter::once(base("ip", "filter", "FORWARD", "accept")).chain(rules).collect());
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn each_firewall_s_own_command_is_the_remedy() {
    let remedy_of = |objects: Vec<Value>| look_at(objects)[0].remedy.clone().unwrap();
    let ufw = vec![base("ip", "filter", "FORWARD", "drop"), chain("ip", "filter", "ufw-user-forward")];
    assert_eq!(remedy_of(ufw), "ufw route allow in on wg0");

    let reject = json!({ "rule": { "family": "inet", "table": "firewalld", "chain": "filter_FORWARD", "expr":
        [{ "reject": { "type": "icmpx", "expr": "admin-prohibited" } }] } });
    let firewalld = vec![base("inet", "firewalld", "filter_FORWARD", "accept"), reject];
    assert!(
        remedy_of(firewalld).starts_with("firewall-cmd --permanent --zone=trusted --add-interface=wg0\n")
    );

    let ruleset =
        Ruleset::parse(&json!({ "nftables": [chain("ip", "filter", "DOCKER-USER")] }).to_string()).unwrap();
    let forward = Chain { family: "ip".into(), table: "filter".into(), name: "FORWARD".into() };
    let text = remedy(&ruleset, &forward, &"wg0".parse().unwrap(), Some("iptables"));
    assert!(
        text.starts_with("iptables -I DOCKER-USER -i wg0 -j ACCEPT\niptables -I DOCKER-USER -o wg0 "),
        "{text}"
    );
    let text = remedy(&ruleset, &forward, &"wg0".parse().unwrap(), None);
    assert!(text.starts_with("nft insert rule ip filter DOCKER-USER iifname '\"wg0\"' accept\n"), "{text}");
}

#[test]
fn rules_that_cannot_meet_the_tunnel_are_passed_over() {
    for rules in [
        vec![],
        vec![
            json!([meta("iifname", "==", json!("docker0")), meta("oifname", "==", json!("docker0")), { "drop": null }]),
        ],
        vec![
            json!([meta("iifname", "!=", json!("wg*")), meta("oifname", "!=", json!("wg0")), { "drop": null }]),
        ],
        vec![json!([state(json!("invalid")), { "drop": null }])],
        vec![
            json!([meta("iifname", "==", json!({ "set": ["lan0", "wg0"] })), { "accept": null }]),
            json!([state(json!(["established", "related"])), { "accept": null }]),
            json!([{ "drop": null }]),
        ],
        vec![
            json!([meta("iifname", "==", json!("wg0")), { "accept": null }]),
            json!([{ "vmap": { "key": { "ct": { "key": "state" } }, "data": { "set":
                [["invalid", { "drop": null }], ["established", { "accept": null }]] } } }]),
            json!([{ "reject": null }]),
        ],
    ] {
        let text = with_rules(rules);
        assert!(text.starts_with('✓'), "{text}");
    }
}

#[test]
fn a_drop_that_depends_on_more_than_the_interface_is_a_warning() {
    let somewhere = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "daddr" } },
        "right": "10.0.0.1" } });
    let text = with_rules(vec![json!([somewhere, { "drop": null }])]);
    assert!(text.starts_with('!') && text.contains("chain ip filter FORWARD (drop)"), "{text}");
}

#[test]
fn answers_that_are_dropped_are_a_problem_too() {
    let text = with_rules(vec![
        json!([meta("iifname", "==", json!("wg0")), { "accept": null }]),
        json!([{ "drop": null }]),
    ]);
    assert!(text.starts_with('✗') && text.contains("what answers to wg0"), "{text}");
}

#[test]
fn what_iptables_wrote_and_nft_does_not_translate_gets_the_benefit_of_the_doubt() {
    let xt = || json!({ "xt": null });
    let found = |rules: Vec<Value>| {
        let rules = rules.into_iter().map(|expressions| rule("FORWARD", expressions));
        look_at(std::iter::once(base("ip", "filter", "FORWARD", "drop")).chain(rules).collect())[0]
            .to_string()
    };
    let established = || json!([xt(), { "counter": {} }, { "accept": null }]);
    let from_wg0 = || json!([meta("iifname", "==", json!("wg0")), { "accept": null }]);
    assert!(found(vec![established(), from_wg0()]).starts_with('✓'), "answers and what comes from wg0");
    assert!(found(vec![established()]).starts_with('!'), "what comes from wg0 may be meant");
    assert!(found(vec![from_wg0()]).starts_with('✗'), "no answers");
    let docker = json!([meta("oifname", "==", json!("docker0")), xt(), { "accept": null }]);
    assert!(found(vec![docker]).starts_with('✗'), "of another interface");
    let jump = json!([meta("oifname", "==", json!("docker0")), { "jump": { "target": "more" } }]);
    let more = rule("more", established());
    let objects = vec![base("ip", "filter", "FORWARD", "drop"), rule("FORWARD", jump), more];
    assert!(look_at(objects)[0].is_problem(), "in a chain of another interface");
}

#[test]
fn our_own_table_and_chains_of_other_hooks_are_not_judged() {
    let mut input = base("ip", "filter", "INPUT", "drop");
    input["chain"]["hook"] = json!("input");
    let found = look_at(vec![base("inet", "nexavpn", "forward", "drop"), input]);
    assert_eq!(found[0].to_string(), "✓ forwarding: no other table looks at forwarded packets");
}

#[test]
fn a_legacy_table_is_judged_by_its_listing() {
    let look = |listing: &str| legacy_finding(listing, "iptables-legacy", &"wg0".parse().unwrap());
    assert_eq!(look("-P FORWARD ACCEPT\n"), None);
    let finding = look("-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\n").unwrap();
    assert!(finding.remedy.unwrap().starts_with("iptables-legacy -I FORWARD -i wg0 -j ACCEPT\n"));
    let mended = "-P FORWARD DROP\n-A FORWARD -i wg0 -j ACCEPT\n\
                  -A FORWARD -o wg0 -j ACCEPT\n";
    assert_eq!(look(mended), None);
}
