//! Outcomes as events: what one subscription gave up makes another one's plugin act, once each, over a kill; and nothing goes in circles.

use std::collections::{BTreeMap, BTreeSet};

use bugle_checker::record::CallAnswer;
use bugle_receivers::Script;
use serde_json::{Value, json};

use crate::scene::{Scene, event, keyed, webhook};

/// Calls under way at a SIGKILL go out again.
const REPEATS_MAX: usize = 32;

fn told(scene: &Scene) -> Vec<Value> {
    let page = scene.get("/v1/topics/bugle.settled/events?from=earliest&limit=1000");
    page["events"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect()
}

#[test]
fn a_second_subscription_acts_on_what_the_first_gave_up() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let refusing = Script { reject: 300, fail: 200, ..Script::default() };
    let scripts = [("sms", refusing), ("quiet", Script::default()), ("compensate", Script::default())];
    let (receiver, calls) = scene.receiver("calls.jsonl", &scripts);
    // The topic is there as soon as it is named, and who reads outcomes may tell its own: they have none.
    let of_sms = "filter = { all = [{ exact = { outcome = \"dead\" } }, { exact = { subscription = \"sms\" } }] }";
    let more = format!("{of_sms}\nsettled_events = true");
    scene.apply("compensate", &webhook("compensate", "bugle.settled", &receiver, &more));
    scene.apply("sms", &webhook("sms", "orders", &receiver, "settled_events = true"));
    scene.apply("quiet", &webhook("quiet", "orders", &receiver, ""));
    assert_eq!(scene.subscription("sms")["definition"]["settled_events"], json!(true), "it is shown");

    let events = |from: u32, to: u32| {
        let made =
            (from..to).map(|n| keyed(&format!("e-{n}"), "order.paid", &format!("k-{}", n % 7), &json!({ "n": n })));
        made.collect::<Vec<_>>()
    };
    let mut positions = scene.store("orders", events(0, 40));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    positions.extend(scene.store("orders", events(40, 60)));
    ["sms", "quiet", "compensate"].iter().for_each(|name| scene.settled(name));

    let place: BTreeMap<String, String> = (0..).map(|n| format!("e-{n}")).zip(positions).collect();
    let (mut refused, mut acted) = (BTreeSet::new(), Vec::new());
    for call in calls.calls() {
        match call.subscription.as_str() {
            "sms" if call.answer == CallAnswer::Refused => drop(refused.insert(call.id)),
            "compensate" => acted.push(call.id),
            _ => {}
        }
    }
    // A call that was refused for now is in `refused` too; the letters say what was given up.
    let letters = scene.dead("sms", 1);
    let dead: BTreeSet<&str> = letters.iter().map(|letter| letter["event"]["event"]["id"].as_str().unwrap()).collect();
    assert!(dead.len() > 3 && dead.iter().all(|id| refused.contains(*id)), "{dead:?}");
    let wanted: BTreeSet<String> = dead.iter().map(|id| format!("sms/{}/dead", place[*id])).collect();
    assert_eq!(acted.iter().cloned().collect::<BTreeSet<_>>(), wanted, "each is acted on, and nothing else");
    assert!(acted.len() <= wanted.len() + REPEATS_MAX, "{acted:?}");

    let outcomes = told(&scene);
    assert_eq!(outcomes.len(), 60, "one for each delivery of `sms`, and none of the others");
    for (id, position) in &place {
        let own: Vec<&Value> = outcomes.iter().filter(|outcome| outcome["eventid"] == json!(id)).collect();
        let [own] = own[..] else { panic!("{id} was told {} times", own.len()) };
        let outcome = if dead.contains(id.as_str()) { "dead" } else { "sent" };
        assert_eq!((&own["outcome"], &own["subscription"]), (&json!(outcome), &json!("sms")), "{own}");
        assert_eq!((&own["eventposition"], &own["eventtype"]), (&json!(position), &json!("order.paid")), "{own}");
        assert_eq!((&own["type"], &own["eventsource"]), (&json!("bugle.settled"), &json!("/e2e")), "{own}");
    }
}

#[test]
fn only_the_host_tells_outcomes() {
    let scene = Scene::new();
    scene.probe("acts", "settled_events = true\ngrants = { publish = [\"*\"] }\nretry = { attempts_max = 1 }");
    let outcome = scene.publish("bugle.settled", [event("forged", "bugle.settled", &json!({}))]);
    assert!(format!("{outcome:?}").contains("code: denied"), "{outcome:?}");
    let told_by = scene.host.cli(&["topic", "create", "bugle.settled"]).unwrap_err().to_string();
    assert!(told_by.contains("[denied]") && told_by.contains("reserved"), "{told_by}");
    let definition = "topics = [\"acts\"]\nplugin = \"probe\"\nsettled_events = \"yes\"";
    let wrong = scene.try_apply("acts", definition, &[]).unwrap_err();
    assert!(wrong.contains("acts.toml:4:18") && wrong.contains("expected a boolean"), "{wrong}");

    scene.store("acts", [event("forger", "publish", &json!({ "topic": "bugle.settled", "id": "forged" }))]);
    let letter = &scene.dead("acts", 1)[0];
    assert!(letter["reason"].as_str().unwrap().starts_with("denied"), "{letter}");
    let outcomes = told(&scene);
    let [own] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((&own["eventid"], &own["outcome"]), (&json!("forger"), &json!("dead")));
    assert!(own["cause"].as_str().unwrap().starts_with("rejected: denied"), "{own}");
    // Switched off, nothing is told any more.
    scene.apply("acts", "topics = [\"acts\"]\nplugin = \"probe\"");
    scene.store("acts", [event("quiet", "ok", &json!({}))]);
    scene.settled("acts");
    assert_eq!(told(&scene).len(), 1);
}
