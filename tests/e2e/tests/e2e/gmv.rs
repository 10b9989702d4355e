//! The counter of a flash sale: paid orders, many of them told twice, counted and summed in kv while the host is killed again and
//! again. The total must be exact.
//!
//! `BUGLE_GMV_EVENTS=200000` makes the run of some minutes; without it, it is a short one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bugle_harness::eventually;
use bugle_receivers::producer::Counts;
use bugle_receivers::{Dice, Journal, Producer};
use serde_json::json;

use crate::judge;
use crate::scene::{PATIENCE, Scene, event, seed};

const PRODUCERS: u64 = 4;

/// Of 100 orders: so many are published again as they were, and so many as a new event of the same order.
const SAME_AGAIN: u64 = 10;
const OTHER_AGAIN: u64 = 10;

struct Plan {
    events: u64,
    kills: u64,
}

impl Plan {
    fn from_environment() -> Plan {
        match std::env::var("BUGLE_GMV_EVENTS").ok().and_then(|text| text.parse().ok()) {
            Some(events) => Plan { events, kills: 20 },
            None => Plan { events: 2_000, kills: 3 },
        }
    }
}

/// What a producer published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Published {
    events: u64,
    orders: u64,
    cents: u64,
}

fn cents(order: u64, dice: Dice) -> u64 {
    100 + dice.roll("cents", &order.to_string(), 1_000_000)
}

/// Publishes paid orders, every fourth of all, some of them again.
async fn produce(
    mut producer: Producer,
    number: u64,
    events: u64,
    dice: Dice,
    sent: Arc<AtomicU64>,
) -> (Counts, Published) {
    let mut published = Published::default();
    for order in (number..).step_by(usize::try_from(PRODUCERS).unwrap()) {
        if published.events >= events {
            break;
        }
        let cents = cents(order, dice);
        let body = json!({ "order": format!("order-{order}"), "cents": cents });
        let paid = event(&format!("paid-{order}"), "paid", &body);
        published.orders += 1;
        published.cents += cents;
        let rolled = dice.roll("again", &order.to_string(), 100);
        let again = match rolled {
            _ if rolled < SAME_AGAIN => Some(paid.clone()),
            _ if rolled < SAME_AGAIN + OTHER_AGAIN => Some(event(&format!("told-{order}"), "paid", &body)),
            _ => None,
        };
        for event in std::iter::once(paid).chain(again) {
            producer.send("paid", &event).await.unwrap();
            published.events += 1;
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    (producer.finish().await.unwrap(), published)
}

#[test]
fn gmv_is_exact_over_duplicates_and_kills() {
    let plan = Plan::from_environment();
    let dice = Dice(seed());
    let mut scene = Scene::new();
    scene.probe("paid", "ordering = \"none\"\nconcurrency = 128\ngrants = { kv = true }");
    let director = Journal::create(scene.logs.path(), "director.jsonl").unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        let name = format!("checkout-{number}");
        let journal = Journal::create(scene.logs.path(), &format!("{name}.jsonl")).unwrap();
        let producer = scene.producer(&name, &journal);
        producers.push(scene.runtime.spawn(produce(
            producer,
            number,
            plan.events / PRODUCERS,
            dice,
            Arc::clone(&sent),
        )));
    }
    for kill in 1..=plan.kills {
        let until = kill * plan.events / (plan.kills + 1);
        eventually("the producers to go on", 4 * PATIENCE, || (sent.load(Ordering::Relaxed) >= until).then_some(()));
        judge::kill(&mut scene, &director);
    }
    let mut all = Published::default();
    let mut duplicates = 0;
    for producer in producers {
        let (counts, published) = scene.runtime.block_on(producer).unwrap();
        assert_eq!((counts.refused, counts.unknown), (0, 0), "every publish must end confirmed: {counts:?}");
        duplicates += counts.duplicates;
        all.events += published.events;
        all.orders += published.orders;
        all.cents += published.cents;
    }
    // Killed once more while it works off what is left.
    judge::kill(&mut scene, &director);
    eventually("every order to be counted", 30 * PATIENCE, || {
        let open = scene.subscription("paid")["status"]["backlog"].as_u64().unwrap();
        (open == 0).then_some(())
    });
    let counted = |key: &str| {
        let entry = scene.get(&format!("/v1/kv/paid/gmv%2F{key}"));
        entry["value"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let found = (counted("orders"), counted("cents"));
    println!(
        "{} events of {} orders, {duplicates} known by their id, {} kills, {:.0} s: {} orders and {} cents counted, {} and {} expected",
        all.events,
        all.orders,
        plan.kills + 1,
        start.elapsed().as_secs_f64(),
        found.0,
        found.1,
        all.orders,
        all.cents
    );
    assert_eq!(found, (all.orders, all.cents));
    assert_eq!(scene.get("/v1/dead?subscription=paid"), json!([]));
    assert_eq!(scene.get("/v1/unknown?subscription=paid"), json!([]));
}
