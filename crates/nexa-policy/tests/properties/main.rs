//! What holds for every policy, peer and packet.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod steps;
mod world;

use chrono::{DateTime, Utc};
use nexa_policy::compile::{CompiledPeer, Grant, Set};
use nexa_policy::model::{Effect, IMPLICIT, Model, Peer};
use nexa_policy::{Compiler, Decision, Probe, compile, eval, explain};
use nexa_types::{Cidr, RuleId, When};
use proptest::prelude::*;

use crate::steps::{Seen, change, content, size};
use crate::world::{at, model, probe, rule};

fn compiled(model: &Model) -> Compiler {
    compile(model.clone()).unwrap()
}

/// What each of a peer's sets says of a packet, by the longest prefix, as what enforces a compiled policy finds it.
fn words<'a>(compiler: &'a Compiler, peer: &Peer, probe: &Probe) -> [Vec<&'a Grant>; 2] {
    let CompiledPeer { shared, own } = compiler.peer(peer.device).unwrap();
    [shared, own].map(|set| {
        let prefixes = compiler.set(set).into_iter().flat_map(Set::iter);
        prefixes
            .filter(|(cidr, _)| cidr.contains(probe.destination))
            .max_by_key(|(cidr, _)| cidr.net().prefix_len())
            .into_iter()
            .flat_map(|(_, class)| compiler.class(class))
            .filter(|grant| grant.traffic.includes(probe))
            .collect()
    })
}

fn when_of(model: &Model, rule: RuleId) -> When {
    model.rules.iter().find(|known| known.id == rule).map_or(When::ALWAYS, |rule| rule.when.clone())
}

fn look_up(model: &Model, compiled: &Compiler, peer: &Peer, probe: &Probe, at: DateTime<Utc>) -> Decision {
    let words = words(compiled, peer, probe).map(|grants| {
        grants.into_iter().filter(|grant| when_of(model, grant.rule).is_active(at)).collect::<Vec<_>>()
    });
    let lowest =
        |effect| words.iter().flatten().filter(|grant| grant.effect == effect).map(|grant| grant.rule).min();
    match (lowest(Effect::Deny), lowest(Effect::Allow)) {
        (Some(rule), _) => Decision::Deny(rule),
        (None, Some(rule)) => Decision::Allow(rule),
        (None, None) if model.excludes(probe.destination) => Decision::Excluded,
        (None, None) => Decision::NoRule,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_policy_says_what_eval_says(model in model(), probes in prop::collection::vec((probe(), at()), 20)) {
        let compiled = compiled(&model);
        for peer in &model.peers {
            for (probe, at) in &probes {
                let looked_up = look_up(&model, &compiled, peer, probe, *at);
                prop_assert_eq!(looked_up, eval(&model, peer, probe, *at), "{:?} at {}", probe, at);
            }
        }
    }

    #[test]
    fn a_set_that_grants_knows_by_itself_every_deny_that_is_to_come(model in model(), probes in prop::collection::vec(probe(), 20)) {
        let compiled = compiled(&model);
        for (peer, probe) in model.peers.iter().flat_map(|peer| probes.iter().map(move |probe| (peer, probe))) {
            let words = words(&compiled, peer, probe);
            let to_come = |grant: &&&Grant| {
                grant.effect == Effect::Deny && !when_of(&model, grant.rule).is_always()
            };
            let denies: Vec<&Grant> = words.iter().flatten().filter(to_come).copied().collect();
            for set in words.iter().filter(|set| set.iter().any(|grant| grant.effect == Effect::Allow)) {
                prop_assert!(denies.iter().all(|deny| set.contains(deny)), "{:?}: {:?}", probe, words);
            }
        }
    }

    #[test]
    fn changes_one_after_another_come_to_what_compiling_at_once_does(
        first in model(),
        others in prop::collection::vec((model(), any::<u8>()), 1..6),
    ) {
        let mut compiler = compiled(&first);
        let mut seen = Seen::default();
        seen.look(&mut compiler);
        let mut model = first;
        for (other, which) in others {
            let before = model.clone();
            let inverse = compiler.apply(change(&mut model, other, which)).unwrap();
            seen.look(&mut compiler);
            prop_assert_eq!(&seen, &Seen::all(&compiler), "what is touched is told");
            prop_assert_eq!(content(&compiler, &model), content(&compiled(&model), &model));
            prop_assert_eq!(size(&compiler), size(&compiled(&model)), "nothing is left behind");
            let mut undone = compiler.clone();
            undone.undo(inverse);
            prop_assert_eq!(content(&undone, &before), content(&compiled(&before), &before));
            prop_assert_eq!(size(&undone), size(&compiled(&before)));
        }
    }

    #[test]
    fn a_rule_that_does_not_speak_is_as_none(model in model(), probe in probe(), at in at()) {
        let peer = &model.peers[0];
        let mut speaking = model.clone();
        speaking.rules.retain(|rule| rule.when.is_active(at));
        for rule in &mut speaking.rules {
            rule.when = When::ALWAYS;
        }
        prop_assert_eq!(eval(&model, peer, &probe, at), eval(&speaking, peer, &probe, at));
    }

    #[test]
    fn without_rules_only_what_is_implicit_passes(model in model(), probe in probe(), at in at()) {
        let model = Model { rules: vec![], ..model };
        let decision = eval(&model, &model.peers[0], &probe, at);
        let silent = if model.excludes(probe.destination) { Decision::Excluded } else { Decision::NoRule };
        prop_assert!(decision == silent || decision == Decision::Allow(IMPLICIT), "{:?}", decision);
    }

    #[test]
    fn the_order_of_rules_means_nothing(model in model(), probe in probe(), at in at()) {
        let mut reversed = model.clone();
        reversed.rules.reverse();
        let peer = &model.peers[0];
        prop_assert_eq!(eval(&model, peer, &probe, at), eval(&reversed, peer, &probe, at));
    }

    #[test]
    fn no_allow_undoes_a_deny(model in model(), probe in probe(), at in at(), mut extra in rule()) {
        let peer = model.peers[0].clone();
        let before = eval(&model, &peer, &probe, at);
        extra.id = RuleId(100);
        extra.effect = Effect::Allow;
        let mut more = model;
        more.rules.push(extra);
        if matches!(before, Decision::Deny(_)) {
            prop_assert_eq!(eval(&more, &peer, &probe, at), before);
        }
    }

    #[test]
    fn a_deny_never_opens_anything(model in model(), probe in probe(), at in at(), mut extra in rule()) {
        let peer = model.peers[0].clone();
        let before = eval(&model, &peer, &probe, at);
        extra.id = RuleId(100);
        extra.effect = Effect::Deny;
        let mut more = model;
        more.rules.push(extra);
        if !matches!(before, Decision::Allow(_)) {
            prop_assert!(!matches!(eval(&more, &peer, &probe, at), Decision::Allow(_)));
        }
    }

    #[test]
    fn an_excluded_address_is_reached_by_no_rule(model in model(), probe in probe(), at in at()) {
        let mut model = model;
        model.excluded.push(Cidr::host(probe.destination));
        for peer in &mut model.peers {
            peer.addresses.clear();
        }
        let decision = eval(&model, &model.peers[0], &probe, at);
        prop_assert!(matches!(decision, Decision::Excluded | Decision::Allow(IMPLICIT)), "{:?}", decision);
    }

    #[test]
    fn an_excluded_device_is_reached_only_by_what_names_it(model in model(), probe in probe(), at in at()) {
        let mut model = model;
        // Granted without a rule, whatever is excluded.
        model.implicit.clear();
        let everywhere = ["10.0.0.0/8", "fd20::/16", "100.96.0.1/32"];
        model.excluded.extend(everywhere.map(|cidr| cidr.parse::<Cidr>().unwrap()));
        let named = eval(&model, &model.peers[0], &probe, at);
        for resource in model.resources.values_mut() {
            resource.devices.clear();
        }
        let unnamed = eval(&model, &model.peers[0], &probe, at);
        prop_assert!(matches!(unnamed, Decision::NoRule | Decision::Excluded), "{:?}", unnamed);
        let is_device = model.peers.iter().any(|peer| peer.addresses.contains(&probe.destination));
        prop_assert!(is_device || named == unnamed, "{:?}", named);
    }

    #[test]
    fn an_explanation_repeats_the_verdict_and_names_a_rule_that_does_not_admit(model in model(), probe in probe(), at in at()) {
        let peer = &model.peers[0];
        let explanation = explain(&model, peer, &probe, at);
        prop_assert_eq!(explanation.decision, eval(&model, peer, &probe, at));
        if let Some(miss) = explanation.nearest {
            prop_assert!(matches!(explanation.decision, Decision::NoRule | Decision::Excluded));
            let rule = model.rules.iter().find(|rule| rule.id == miss.rule).unwrap();
            prop_assert_eq!(rule.effect, Effect::Allow);
        }
    }
}
