//! The traffic: real GitHub events, several times over, keyed by repository, at a steady rate.
//!
//! Every copy has a new id and a repository name out of about fifty; a few have no key, a few are sent twice on purpose. Does not
//! know that the host will be killed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bugle_client::Event;
use bugle_receivers::producer::Counts;
use bugle_receivers::{Dice, Producer};
use serde_json::{Map, Value};

/// The topic of the demo.
pub(crate) const TOPIC: &str = "github";

/// Repository names to spread over.
const KEYS: usize = 50;

/// One event in this many has no key.
const UNKEYED_EVERY: u64 = 40;

/// One event in this many is published twice with the same id, like a retry of a careful producer.
const TWICE_EVERY: u64 = 50;

/// What there is to publish.
pub(crate) struct Samples {
    events: Vec<Map<String, Value>>,
    repositories: Vec<String>,
}

impl Samples {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Samples> {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
        let parse = |line: &str| serde_json::from_str::<Map<String, Value>>(line);
        let events: Vec<_> = text.lines().map(parse).collect::<Result<_, _>>()?;
        let key = |event: &Map<String, Value>| event.get("partitionkey")?.as_str().map(str::to_owned);
        let mut names: Vec<String> = events.iter().filter_map(key).collect();
        names.sort();
        names.dedup();
        anyhow::ensure!(!names.is_empty(), "`{}` has no keyed event", path.display());
        let spread = |n: usize| match n / names.len() {
            0 => names[n].clone(),
            copy => format!("{}-{copy}", names[n % names.len()]),
        };
        let repositories = (0..KEYS).map(spread).collect();
        Ok(Samples { events, repositories })
    }

    /// The n-th event of a run.
    fn event(&self, dice: Dice, n: u32) -> anyhow::Result<Event> {
        let subject = n.to_string();
        let mut json = self.events[n as usize % self.events.len()].clone();
        let original = json.get("id").and_then(Value::as_str).unwrap_or("event");
        json.insert("id".to_owned(), format!("{original}-{n}").into());
        if dice.roll("unkeyed", &subject, UNKEYED_EVERY) == 0 {
            json.remove("partitionkey");
        } else {
            let which = dice.roll("repository", &subject, self.repositories.len() as u64);
            let name = self.repositories[usize::try_from(which)?].clone();
            json.insert("subject".to_owned(), name.clone().into());
            json.insert("partitionkey".to_owned(), name.into());
        }
        Ok(Event::from_json(&Value::Object(json).to_string())?)
    }
}

/// Where the publishing is, for the others to look at.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    sent: AtomicU32,
}

impl Progress {
    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// How to publish.
pub(crate) struct Plan {
    pub(crate) samples: Samples,
    pub(crate) dice: Dice,
    pub(crate) events: u32,
    pub(crate) rate: u32,
    pub(crate) progress: Arc<Progress>,
}

/// Publishes everything and awaits every receipt.
pub(crate) async fn publish(mut producer: Producer, plan: Plan) -> anyhow::Result<Counts> {
    let started = Instant::now();
    for n in 0..plan.events {
        tokio::time::sleep_until((started + Duration::from_secs(1) * n / plan.rate.max(1)).into()).await;
        let event = plan.samples.event(plan.dice, n)?;
        producer.send(TOPIC, &event).await?;
        if plan.dice.roll("twice", &n.to_string(), TWICE_EVERY) == 0 {
            producer.send(TOPIC, &event).await?;
        }
        plan.progress.sent.store(n + 1, Ordering::Relaxed);
    }
    producer.finish().await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::Samples;
    use bugle_receivers::Dice;

    #[test]
    fn events_are_new_and_spread_over_about_fifty_keys() {
        let samples =
            Samples::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/github-events.jsonl")).unwrap();
        let events: Vec<_> = (0..2000).map(|n| samples.event(Dice(7), n).unwrap()).collect();
        let ids: BTreeSet<_> = events.iter().map(|event| event.view().id.to_owned()).collect();
        let keys: BTreeSet<_> =
            events.iter().filter_map(|event| event.view().partition_key.map(str::to_owned)).collect();
        let unkeyed = events.iter().filter(|event| event.view().partition_key.is_none()).count();
        assert_eq!((ids.len(), keys.len()), (2000, 50));
        assert!((20..100).contains(&unkeyed));
    }
}
