//! Topics go when nobody covers them, over a kill, and one that is made under the name later is another one.

use bugle_receivers::Script;
use serde_json::json;

use crate::scene::{Scene, event, webhook};

#[test]
fn a_deleted_topic_takes_nothing_more_and_its_name_is_free_over_a_kill() {
    let mut scene = Scene::new();
    scene.topic("orders");
    scene.topic("clicks");
    scene.store("clicks", [event("old", "click", &json!({}))]);
    let number = |scene: &Scene| scene.get("/v1/topics/clicks")["id"].as_u64().unwrap();
    let events = |scene: &Scene| scene.get("/v1/topics/clicks/events?from=earliest&limit=10")["events"].clone();
    let first = number(&scene);
    assert_eq!(events(&scene).as_array().unwrap().len(), 1);

    let unsure = scene.host.cli(&["topic", "delete", "clicks"]).unwrap_err().to_string();
    assert!(unsure.contains("--yes") && unsure.contains("publishing to it is refused"), "{unsure}");
    let said = scene.host.cli(&["topic", "delete", "clicks", "--yes"]).unwrap();
    assert!(said.contains("deleted `clicks`"), "{said}");
    for _ in 0..2 {
        let publish = ["publish", "clicks", "--type", "t", "--source", "/e2e", "--data", "{}"];
        let refused = scene.host.cli(&publish).unwrap_err().to_string();
        assert!(refused.contains("unknown-topic") && refused.contains("topic `clicks` does not exist"), "{refused}");
        let gone = scene.host.cli(&["topic", "show", "clicks"]).unwrap_err().to_string();
        assert!(gone.contains("there is no topic `clicks`"), "{gone}");
        assert!(!scene.host.cli(&["topic", "list"]).unwrap().contains("clicks"));
        scene.host.kill().unwrap();
        scene.host.restart().unwrap();
    }

    scene.topic("clicks");
    assert!(number(&scene) > first, "another one");
    assert_eq!(events(&scene), json!([]), "what was in the one before stays there");
    scene.store("clicks", [event("old", "click", &json!({}))]);
    assert_eq!(events(&scene).as_array().unwrap().len(), 1, "the id of an event of the one before is free too");
    let audit = scene.host.cli(&["audit", "list"]).unwrap();
    assert!(audit.contains("topic.delete"), "{audit}");
}

#[test]
fn a_topic_that_somebody_needs_is_not_deleted() {
    let scene = Scene::new();
    scene.topic("orders");
    scene.topic("orders.eu");
    scene.deploy("webhook", &bugle_guests::webhook());
    let (receiver, _calls) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    let delete = |topic: &str| scene.host.cli(&["topic", "delete", topic, "--yes"]).unwrap_err().to_string();
    scene.apply("hook", &webhook("hook", "orders", &receiver, ""));
    scene.apply("every", &webhook("every", "orders.*", &receiver, ""));
    for (topic, subscription) in [("orders", "`hook`"), ("orders.eu", "`every`")] {
        let refused = delete(topic);
        assert!(refused.contains("conflict") && refused.contains(subscription), "{refused}");
    }
    assert!(delete("nothing").contains("there is no topic `nothing`"));
    assert!(delete("bugle.to.hook").contains("denied"), "{}", delete("bugle.to.hook"));

    scene.topic("later");
    let later = ["publish", "later", "--type", "t", "--source", "/e2e", "--data", "{}", "--id", "l-1", "--delay", "1h"];
    scene.host.cli(&later).unwrap();
    let refused = delete("later");
    assert!(refused.contains("1 scheduled") && refused.contains("bugle scheduled list later"), "{refused}");
    scene.host.cli(&["scheduled", "cancel", "later", "--source", "/e2e", "--id", "l-1"]).unwrap();
    scene.host.cli(&["topic", "delete", "later", "--yes"]).unwrap();

    scene.host.cli(&["subscription", "delete", "hook", "--yes"]).unwrap();
    scene.host.cli(&["topic", "delete", "orders", "--yes"]).unwrap();
    scene.store("orders.eu", [event("e", "t", &json!({}))]);
    scene.settled("every");
}

#[test]
fn of_a_deletion_and_a_subscription_at_once_one_is_refused() {
    const ROUNDS: usize = 16;
    let mut scene = Scene::new();
    scene.deploy("noop", &bugle_guests::noop());
    let mut kept = Vec::new();
    for round in 0..ROUNDS {
        let topic = format!("t-{round}");
        scene.topic(&topic);
        let file = scene.host.directory().join(format!("s-{round}.toml"));
        let definition = format!("name = \"s-{round}\"\ntopics = [\"{topic}\"]\nplugin = \"noop\"\n");
        std::fs::write(&file, definition).unwrap();
        let (host, file) = (&scene.host, file.to_str().unwrap());
        let (applied, deleted) = std::thread::scope(|scope| {
            let deletion = scope.spawn(|| host.cli(&["topic", "delete", &topic, "--yes"]));
            (host.cli(&["subscription", "apply", file]), deletion.join().unwrap())
        });
        match (applied, deleted) {
            (Ok(_), Err(refused)) => {
                assert!(refused.to_string().contains(&format!("`s-{round}`")), "{refused}");
                kept.push(topic);
            }
            (Err(refused), Ok(_)) => assert!(refused.to_string().contains(&topic), "{refused}"),
            both => panic!("round {round}: {both:?}"),
        }
    }
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    let mut topics: Vec<String> = scene
        .get("/v1/topics")
        .as_array()
        .unwrap()
        .iter()
        .map(|topic| topic["name"].as_str().unwrap().to_owned())
        .collect();
    topics.retain(|topic| topic.starts_with("t-"));
    topics.sort_unstable();
    kept.sort_unstable();
    assert_eq!(topics, kept);
    for topic in &kept {
        scene.store(topic, [event("e", "t", &json!({}))]);
        scene.settled(&topic.replace("t-", "s-"));
    }
}
