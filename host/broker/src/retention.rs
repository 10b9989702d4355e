//! Lets go of the beginning of each log: gathers what the core's rules need, tells admission, then drops.
//!
//! Runs on the upkeep's thread, since making and dropping epochs takes tens of milliseconds. Decides nothing
//! ([`bugle_core::retention`]).
//!
//! Invariant: ids of dropped events are forgotten by admission before the events go, so that no repeat of one is taken for new.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_core::ids::{Offset, SubscriptionId, TopicId};
use bugle_core::retention::{CLASSES_MAX, Claims, KeepClass, Retention, Run, Shelf, Verdict};
use bugle_core::time::Timestamp;
use bugle_store::{EpochFigures, Store, UpkeepError};
use tokio::sync::oneshot;

use crate::queue::Item;
use crate::reads::ReadError;
use crate::shared::Shared;

/// Epochs whose times are remembered: many times what is ever live.
const TIMES_MAX: usize = 4_096;

/// The rules of a start.
#[derive(Clone, Debug, Default)]
pub struct Retentions {
    /// Rules by class; the default class has the documented ones unless it is named.
    pub rules: Vec<(KeepClass, Retention)>,
    /// Where topics are whose events are not all in the default class.
    pub topics: Vec<(TopicId, Shelf)>,
}

/// Who keeps a log longer than its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// The subscription that needs the lowest offset, if the rules would let go of something it needs.
    pub by: Option<SubscriptionId>,
    /// What it needs begins here.
    pub from: Offset,
    /// Up to where the rules would let go.
    pub allowed_below: Offset,
    /// When the oldest event of the log was accepted; `None` if it has none.
    pub oldest: Option<Timestamp>,
}

/// Rules and where topics are, as of now, and the latest judgement of each log.
#[derive(Debug)]
pub(crate) struct Retained(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    rules: [Option<Retention>; CLASSES_MAX],
    topics: HashMap<TopicId, Shelf>,
    pinned: [Pinned; CLASSES_MAX],
    /// Classes a subscription covered since the start: what it has queued of a topic it no longer covers is still delivered.
    covered: BTreeMap<SubscriptionId, u8>,
    /// Those of epochs that get no more events, by number.
    times: HashMap<u32, Times>,
}

impl Retained {
    /// Blocks while it makes the logs of classes that have none yet.
    pub(crate) fn new(store: &Store, of_start: Retentions) -> Result<Retained, UpkeepError> {
        let mut inside = Inside::default();
        inside.rules[KeepClass::DEFAULT.index()] = Some(Retention::default());
        for (class, rules) in of_start.rules {
            store.make_epoch(class)?;
            inside.rules[class.index()] = Some(rules);
        }
        inside.topics = of_start.topics.into_iter().collect();
        store.set_classes(inside.classes());
        Ok(Retained(Mutex::new(inside)))
    }

    /// The rules of each class that has some.
    pub(crate) fn rules(&self) -> Vec<(KeepClass, Retention)> {
        let rules = self.lock().rules;
        KeepClass::all().filter_map(|class| Some((class, rules[class.index()]?))).collect()
    }

    /// New rules of a class, whose log was made.
    pub(crate) fn set_rules(&self, class: KeepClass, rules: Retention) {
        self.lock().rules[class.index()] = Some(rules);
    }

    pub(crate) fn shelf(&self, topic: TopicId) -> Shelf {
        self.lock().topics.get(&topic).copied().unwrap_or_default()
    }

    /// Where a topic's events go from now on.
    pub(crate) fn set_shelf(&self, store: &Store, topic: TopicId, shelf: Shelf) {
        let mut inside = self.lock();
        inside.topics.insert(topic, shelf);
        store.set_classes(inside.classes());
    }

    /// Who keeps a log longer than its rules, as of the last look.
    pub(crate) fn pinned(&self, class: KeepClass) -> Pinned {
        self.lock().pinned[class.index()]
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn classes(&self) -> HashMap<TopicId, KeepClass> {
        let other = self.topics.iter().filter(|(_, shelf)| shelf.class() != KeepClass::DEFAULT);
        other.map(|(topic, shelf)| (*topic, shelf.class())).collect()
    }
}

/// Why nothing was let go of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetainError {
    #[error("could not read what is needed of the log")]
    Read(#[from] ReadError),
    #[error("could not drop old events")]
    Drop(#[from] UpkeepError),
}

/// One look at every log.
pub(crate) fn retain(shared: &Shared) -> Result<(), RetainError> {
    // Listed first: whoever covers what is in these epochs is known when needs are read.
    let epochs = shared.store.epochs();
    let needs = needs(shared)?;
    for (class, rules) in shared.retained.rules() {
        let of_class: Vec<EpochFigures> = epochs.iter().filter(|epoch| epoch.class == class).copied().collect();
        let runs = runs(shared, &of_class)?;
        let Some(last) = runs.last() else {
            // It is not there if a copy was under way when the retention was made.
            shared.store.make_epoch(class)?;
            continue;
        };
        let now = shared.clock.now();
        // What the rules say of the last run counts once another one has begun, so from the next look on.
        let is_open = of_class.len() == runs.len();
        if is_open && rules.ends(now, last, epochs.len()) {
            roll(shared, class)?;
        }
        let least =
            needs.iter().filter_map(|(by, claims)| Some((*by, claims.needed_of(class)?))).min_by_key(|(_, from)| *from);
        let needed = least.map_or(shared.ring.end(), |(_, from)| from);
        let verdict = rules.judge(now, &runs, needed);
        let by = least.map(|(by, _)| by).filter(|_| verdict.drop_below < verdict.allowed_below);
        let kept = runs.iter().find(|run| run.first >= verdict.drop_below);
        let oldest = kept.and_then(|run| run.oldest);
        let pinned = Pinned { by, from: needed, allowed_below: verdict.allowed_below, oldest };
        shared.retained.lock().pinned[class.index()] = pinned;
        drop_below(shared, class, &runs, verdict)?;
    }
    Ok(())
}

fn needs(shared: &Shared) -> Result<Vec<(SubscriptionId, Claims)>, RetainError> {
    let mut floors: BTreeMap<SubscriptionId, Offset> = BTreeMap::new();
    for (id, row) in shared.store.cursors().map_err(ReadError::from)? {
        floors.entry(id).and_modify(|floor| *floor = row.floor.min(*floor)).or_insert(row.floor);
    }
    shared.retained.lock().covered.retain(|id, _| floors.contains_key(id));
    let mut needs = Vec::with_capacity(floors.len());
    for (by, floor) in floors {
        let waiting = shared.store.waiting(by).next().transpose().map_err(ReadError::from)?.map(|(offset, _)| offset);
        needs.push((by, Claims { floor, waiting, covered: covered(shared, by) }));
    }
    Ok(needs)
}

/// The classes a subscription covers; all of them if its worker is not there.
fn covered(shared: &Shared, subscription: SubscriptionId) -> u8 {
    let topics = {
        let readers = shared.readers.read().unwrap_or_else(PoisonError::into_inner);
        readers.iter().find(|(id, _)| *id == subscription).map(|(_, inbox)| inbox.covered())
    };
    let Some(topics) = topics else { return u8::MAX };
    let mut inside = shared.retained.lock();
    let shelves = |topic: &TopicId| inside.topics.get(topic).copied().unwrap_or_default().ever();
    let now = topics.iter().map(shelves).fold(0, |all, one| all | one);
    let ever = inside.covered.entry(subscription).or_default();
    *ever |= now;
    *ever
}

fn roll(shared: &Shared, class: KeepClass) -> Result<(), RetainError> {
    shared.store.make_epoch(class)?;
    let (reply, begun) = oneshot::channel();
    if shared.queue.push(Item::Roll { class, reply }).is_ok() {
        // If the host stops, the next start finds the log as it is.
        let _ = begun.blocking_recv();
    }
    Ok(())
}

fn drop_below(shared: &Shared, class: KeepClass, runs: &[Run], verdict: Verdict) -> Result<(), RetainError> {
    let floor = verdict.drop_below;
    let Some(last) = runs.iter().rev().find(|run| run.first < floor) else { return Ok(()) };
    let until = last.newest.unwrap_or(shared.clock.now());
    let others = KeepClass::all().filter(|other| *other != class).filter_map(|other| shared.store.floor_of(other));
    let (lowest, dropped_below) = (others.fold(floor, Offset::min), floor.max(shared.store.dropped_below()));
    let (reply, forgotten) = oneshot::channel();
    let trim = Item::Trim { floor: lowest, dropped_below, until, reply };
    if shared.queue.push(trim).is_err() || forgotten.blocking_recv().is_err() {
        // The host stops; the next start finds the log as it is.
        return Ok(());
    }
    let dropped = shared.store.drop_log_below(class, floor)?;
    if dropped > 0 {
        tracing::info!(epochs = dropped, retention = class.number(), below = floor.0, "let go of old events");
    }
    Ok(())
}

/// The epochs with the times of their first and last events. An empty last one is left out: the one that holds the latest event of
/// the log stays, as it tells a start how late it is at least.
fn runs(shared: &Shared, epochs: &[EpochFigures]) -> Result<Vec<Run>, RetainError> {
    let mut runs = Vec::with_capacity(epochs.len());
    for (index, epoch) in epochs.iter().enumerate() {
        let is_last = index + 1 == epochs.len();
        let Times { oldest, newest } = times(shared, *epoch, is_last)?;
        if is_last && oldest.is_none() {
            break;
        }
        runs.push(Run { first: epoch.first, bytes: epoch.bytes, oldest, newest });
    }
    Ok(runs)
}

/// When the first and the last event of an epoch were accepted.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

/// Reads them once, but those of the last epoch, which changes.
fn times(shared: &Shared, epoch: EpochFigures, is_last: bool) -> Result<Times, RetainError> {
    if let Some(known) = shared.retained.lock().times.get(&epoch.number) {
        return Ok(*known);
    }
    let (oldest, newest) = shared.store.epoch_times(epoch.number).map_err(ReadError::from)?;
    let times = Times { oldest, newest };
    if !is_last {
        let mut inside = shared.retained.lock();
        if inside.times.len() > TIMES_MAX {
            inside.times.clear();
        }
        inside.times.insert(epoch.number, times);
    }
    Ok(times)
}
