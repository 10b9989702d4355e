//! What was sent and never heard of again is in doubt: sent again, parked, and at last a person's, over kills.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bugle_harness::eventually;
use serde_json::{Value, json};

use crate::asked::{First, Provider};
use crate::inbound::{CALLBACK, post_signed, receiver, records, scene, webhook};
use crate::scene::{PATIENCE, Scene, event};

/// Calls by `webhook-id`.
type Calls = Arc<Mutex<BTreeMap<String, u32>>>;

/// A receiver that takes everything and tells nobody.
fn silent() -> (String, Calls) {
    let calls = Calls::default();
    let noted = Arc::clone(&calls);
    let address = receiver(move |id| *noted.lock().unwrap().entry(id).or_default() += 1);
    (format!("http://{address}"), calls)
}

fn started(more: &str) -> (Scene, Calls) {
    let scene = scene();
    scene.topic("orders");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (url, calls) = silent();
    scene.apply("print", &webhook(&url, more));
    (scene, calls)
}

/// References by event, as the plugin noted them.
fn references(scene: &Scene, events: u32) -> Vec<String> {
    let reference = |number: u32| {
        let rows = records(scene, &format!("event=e-{number}"));
        let row = rows.iter().find(|row| row["recipient"] != json!(""));
        row.map(|row| row["provider_reference"].as_str().unwrap().to_owned())
    };
    eventually("notes of all", PATIENCE, || (1..=events).map(reference).collect::<Option<Vec<_>>>())
}

fn delivered(scene: &Scene, reference: &str) -> Value {
    let body = json!({ "id": reference, "status": "delivered" }).to_string();
    let taken = post_signed(scene.host.inbound().unwrap(), "print", CALLBACK, &body).unwrap();
    assert_eq!(taken.status, 200, "{taken:?}");
    json!(taken.json()["moved"])
}

fn open_unknown(scene: &Scene) -> usize {
    let shown = scene.host.cli(&["unknown", "list", "print", "--state", "open", "--json"]).unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown.as_array().unwrap_or_else(|| panic!("{shown}")).len()
}

#[test]
fn what_nobody_speaks_of_is_sent_again_under_its_key_and_then_a_persons_over_a_kill() {
    let (mut scene, calls) = started("late_after = \"2s\"\nuncertain = \"resend\"");
    scene.store("orders", (1..=4).map(|number| event(&format!("e-{number}"), "order.paid", &json!({}))));
    let references = references(&scene, 4);
    assert_eq!(delivered(&scene, &references[0]), json!(1), "of one the provider speaks in time");

    let times = |calls: &Calls, reference: &str| calls.lock().unwrap().get(reference).copied().unwrap_or_default();
    eventually("a second send of each of the others", PATIENCE, || {
        references[1..].iter().all(|reference| times(&calls, reference) >= 2).then_some(())
    });
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    eventually("each to be a person's", PATIENCE, || (open_unknown(&scene) == 3).then_some(()));
    assert_eq!(times(&calls, &references[0]), 1, "it was heard of");
    for reference in &references[1..] {
        let times = times(&calls, reference);
        assert!((3..=4).contains(&times), "sent, sent again twice, and perhaps once more by the kill: {times}");
    }
    assert_eq!(calls.lock().unwrap().len(), 4, "no other keys");
    let rows = records(&scene, &format!("provider_ref={}", references[1]));
    let said = "nothing heard for 2 s: it is sent again under the same idempotency key";
    assert!(rows.iter().filter(|row| row["detail"] == json!(said)).count() >= 2, "{rows:?}");
    assert!(rows.iter().all(|row| row["status"] == json!("sent") && row["is_open"] == json!(false)), "{rows:?}");
    let metrics = scene.admin().text("/metrics").unwrap();
    assert!(metrics.contains("bugle_late_copies_total{subscription=\"print\"}"), "{metrics}");

    // It speaks at last, of each send under that reference.
    assert_eq!(delivered(&scene, &references[1]), json!(rows.len()));
    let rows = records(&scene, &format!("provider_ref={}", references[1]));
    assert!(rows.iter().all(|row| row["status"] == json!("delivered")), "{rows:?}");
}

#[test]
fn with_park_a_person_says_what_became_of_it() {
    let (scene, calls) = started("late_after = \"1s\"\nuncertain = \"park\"");
    scene.store("orders", [event("e-1", "order.paid", &json!({}))]);
    eventually("it to be a person's", PATIENCE, || (open_unknown(&scene) == 1).then_some(()));
    assert_eq!(calls.lock().unwrap().values().copied().collect::<Vec<_>>(), [1], "nothing is sent again");
    let said = scene.host.cli(&["unknown", "resolve", "print", "--as", "sent", "--yes"]).unwrap();
    assert!(said.contains('1'), "{said}");
    assert_eq!(open_unknown(&scene), 0);
    assert_eq!(calls.lock().unwrap().values().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn with_ask_the_provider_says_what_became_of_it_and_only_what_it_lost_is_sent_again() {
    let provider = Provider::start(First::Taken);
    let mut scene = scene();
    let origin = format!("http://{}", provider.address);
    scene.probe(
        "sms",
        &format!(
            "inbound = true\nlate_after = \"2s\"\nuncertain = \"ask\"\nconfig = {{ url = \"{origin}\" }}\n\
             grants = {{ egress = [\"{origin}\"] }}"
        ),
    );
    let message = |number: u32| event(&format!("e-{number}"), "once-post-noted", &json!({ "url": "/send" }));
    scene.store("sms", (1..=4).map(message));
    scene.settled("sms");
    {
        // It loses two of them inside, and says nothing of any.
        let mut inside = provider.inside();
        assert_eq!((inside.taken.len(), inside.questions), (4, 0));
        let lost: Vec<String> = inside.taken.keys().take(2).cloned().collect();
        inside.taken.retain(|key, _| !lost.contains(key));
    }
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    eventually("it to be asked about each, and what it lost to be sent again", PATIENCE, || {
        (provider.inside().questions >= 4 && provider.taken() == [1; 4]).then_some(())
    });
    let mut requests = provider.requests();
    requests.sort_unstable();
    assert_eq!(requests, [1, 1, 2, 2], "each under its own key");
    scene.settled("sms");
    assert_eq!(scene.get("/v1/dead?subscription=sms"), json!([]));
}

#[test]
fn a_time_that_would_make_everything_late_is_refused() {
    let (scene, _) = started("");
    let refused = |definition: &str| scene.try_apply("print", definition, &[]).unwrap_err();
    let without = webhook("http://127.0.0.1:9", "late_after = \"15m\"").replace("inbound = true\n", "");
    let error = refused(&without);
    assert!(error.contains("late_after") && error.contains("inbound = true"), "{error}");
    for time in ["10ms", "31d"] {
        let error = refused(&webhook("http://127.0.0.1:9", &format!("late_after = \"{time}\"")));
        assert!(error.contains("late_after") && error.contains("from 1s to"), "{error}");
    }
}
