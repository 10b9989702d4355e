//! Claims that subscriptions share by a `channel`, through the file of a definition, over a kill of the host.

use bugle_harness::eventually;
use bugle_receivers::Script;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, event};

#[test]
fn subscriptions_of_a_channel_send_an_order_once_and_cannot_leave_it() {
    let mut scene = Scene::new();
    let (receiver, journal) = scene.receiver("calls.jsonl", &[("hook", Script::default())]);
    let origin = format!("http://{}", receiver.address());
    let more =
        |channel: &str| format!("{channel}\nconfig = {{ url = \"{origin}\" }}\ngrants = {{ egress = [\"{origin}\"] }}");
    scene.probe("sms", &more("channel = \"sms\""));
    let second = |channel: &str| format!("topics = [\"sms\"]\nplugin = \"probe\"\n{}", more(channel));
    scene.apply("sms-again", &second("channel = \"sms\""));
    scene.apply("alone", &second(""));
    let order = |id: &str| event(id, "once-post", &json!({ "url": "/hook", "key": "order:7" }));
    scene.store("sms", [order("paid")]);
    let settle = |scene: &Scene| ["sms", "sms-again", "alone"].map(|name| scene.settled(name));
    settle(&scene);
    // One for the channel, one for the subscription that is in none.
    eventually("both calls to be written down", PATIENCE, || (journal.len() == 2).then_some(()));
    scene.host.kill().unwrap();
    scene.host.restart().unwrap();
    scene.store("sms", [order("shipped")]);
    settle(&scene);
    assert_eq!(journal.len(), 2, "it was done before");
    let refused = scene.try_apply("sms-again", &second("channel = \"push\""), &[]).unwrap_err();
    assert!(refused.contains("`channel` of subscription `sms-again` can't be changed"), "{refused}");
    let refused = scene.try_apply("new", &second("channel = \"a/b\""), &[]).unwrap_err();
    assert!(refused.contains("`a/b` is not a channel name"), "{refused}");
}
