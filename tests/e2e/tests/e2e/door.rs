//! Bad input from producers: each gets its code, nothing of it is stored, and the session goes on.

use bugle_client::{Event, Outcome, Stored};
use serde_json::json;

use crate::scene::{Scene, event};

fn refusal(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { code, .. } => code.to_string(),
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn an_unknown_topic_is_refused_and_the_session_goes_on() {
    let scene = Scene::new();
    scene.topic("orders");
    let client = scene.client("shop");
    scene.runtime.block_on(async {
        let order = event("a", "order.paid", &json!({ "order": 7 }));
        assert_eq!(refusal(&client.publish("oders", order.clone()).await), "unknown-topic");
        assert!(matches!(client.publish("orders", order).await, Outcome::Confirmed(_)));
        client.close().await;
    });
}

#[test]
fn an_id_names_one_event_for_ever() {
    let scene = Scene::new();
    scene.topic("orders");
    let client = scene.client("shop");
    scene.runtime.block_on(async {
        let order = event("a", "order.paid", &json!({ "order": 7 }));
        let first = client.publish("orders", order.clone()).await.receipt().unwrap();
        let again = client.publish("orders", order).await.receipt().unwrap();
        assert_eq!((again.position, again.duplicate), (first.position, true));
        let other = event("a", "order.paid", &json!({ "order": 8 }));
        assert_eq!(refusal(&client.publish("orders", other).await), "id-reused");
        assert_eq!(client.query("orders", "/e2e", "a").await.unwrap(), Stored::At(first.position));
        assert_eq!(client.query("orders", "/e2e", "b").await.unwrap(), Stored::NotInWindow);
        client.close().await;
    });
}

#[test]
fn events_that_are_too_large_or_lack_an_attribute_are_told_by_line() {
    let scene = Scene::new();
    scene.topic("orders");
    let file = scene.host.directory().join("events.jsonl");
    let publish = |text: &str| {
        std::fs::write(&file, text).unwrap();
        scene.host.cli(&["publish", "orders", "--file", file.to_str().unwrap()]).unwrap_err().to_string()
    };
    let told = publish("{\"type\":\"t\",\"id\":\"1\"}\n");
    assert!(told.contains("events.jsonl:1") && told.contains("`source` is required"), "{told}");
    let told = publish("{\"type\":\"t\",\"source\":\"/s\",\"subject\":7}\n");
    assert!(told.contains("`subject`"), "{told}");
    let large = "x".repeat(300 * 1024);
    let told = publish(&format!("{{\"type\":\"t\",\"source\":\"/s\",\"data\":\"{large}\"}}\n"));
    assert!(told.contains("event-too-large") || told.contains("bytes"), "{told}");
    assert!(told.len() < 2000, "a payload is not printed");
    let told = publish("not json\n");
    assert!(told.contains("not a JSON object"), "{told}");
    let page = scene.get("/v1/topics/orders/events?from=earliest");
    assert_eq!(page["events"], json!([]), "nothing of it is stored");
}

#[test]
fn a_large_event_within_the_limit_passes_whole() {
    let scene = Scene::new();
    scene.topic("orders");
    let data = json!({ "text": "x".repeat(200 * 1024) });
    let order: Event = event("large", "order.paid", &data);
    scene.store("orders", [order]);
    let page = scene.get("/v1/topics/orders/events?from=earliest");
    assert_eq!(page["events"][0]["event"]["data"], data);
}
