//! One state of the disk of the simulated bus: log, rows, claims, kv entries. Applies one batch at a time, whole.
//!
//! Holds no decision. Invariant: what a batch must hold together is looked at when the batch was applied, so no state between two
//! batches is missed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{Offset, Position, ProducerEpoch, Sequence, StreamId, SubscriptionId};
use bugle_core::origin::{ORIGIN_ATTRIBUTE, Origin};
use bugle_core::row::{
    ClaimName, ClaimRow, ClaimState, DeadState, Expiring, ExpiryEntry, KvRow, RecordRow, RecordStatus, Second,
    UncertainClaim, UnknownRow, UnknownState, WindowMark,
};
use bugle_core::spec::Subscription;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;

use crate::call::FOLLOW_UPS;
use crate::callback::Notes;
use crate::definition;
use crate::expiry::KEPT;
use crate::late::{HandedOn, origin_of};
use crate::outcomes::Outcomes;
use crate::rows::Rows;
use crate::rule::{self, Checked, broken, must};
use crate::schedule::Schedule;
use crate::timer::Timers;

/// Plugins mark an acked event by a kv entry of this name and its offset, written in the transaction of the ack.
pub(crate) const ACKED: &str = "acked-";

/// Plugins count an event under a weak claim by a kv entry of this name and its offset; the claim has the same key.
pub(crate) const WEAK: &str = "weak/";

/// Number of a lane of the log: events of one key and class. `None` for an event without a key.
pub(crate) type LaneNumber = Option<u32>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) log: Vec<StoredEvent>,
    /// Places of events whose content is erased.
    pub(crate) erased: Vec<Offset>,
    lane_of: Vec<LaneNumber>,
    lanes: Vec<Vec<Offset>>,
    lane_numbers: HashMap<(String, Class), u32>,
    rows: BTreeMap<SubscriptionId, Rows>,
    names: BTreeMap<Arc<str>, SubscriptionId>,
    claims: BTreeMap<Arc<str>, BTreeMap<String, ClaimRow>>,
    kv: BTreeMap<Arc<str>, BTreeMap<String, KvRow>>,
    /// The index of rows that end by time.
    expiries: BTreeSet<ExpiryEntry>,
    /// Done weak claims: key and receipt, by scope, end and number.
    window: BTreeMap<(Arc<str>, Timestamp, u64), WindowMark>,
    /// Until when a weak claim is to be remembered.
    remembered: BTreeMap<(Arc<str>, String), Timestamp>,
    /// Ends of the claims that became done in the batch that is applied.
    done: BTreeMap<(Arc<str>, String), Timestamp>,
    /// kv entries at which the batch that is applied took a second look.
    swept: BTreeSet<(Arc<str>, String)>,
    /// When it was written.
    now: Timestamp,
    sequences: BTreeMap<(String, ProducerEpoch), BTreeMap<StreamId, Sequence>>,
    /// Done claims less follow-ups of each event: both come in one batch, so this is empty between two.
    unbalanced: BTreeMap<Offset, i64>,
    /// Records of deliveries that were handed on and letters that were replayed, less the copies that came of it: empty between two batches, too.
    underway: BTreeMap<(SubscriptionId, Offset), i64>,
    outcomes: Outcomes,
    /// Claims of results of which the batch says that they were sent: empty between two batches, too.
    told_sent: Vec<UncertainClaim>,
    pub(crate) schedule: Schedule,
    timers: Timers,
    /// What plugins noted, and providers said.
    pub(crate) notes: Notes,
    /// Of the batch that is applied.
    handed_on: HandedOn,
    /// Claims that became done.
    pub(crate) confirms: u64,
}

impl Store {
    /// A subscription exists.
    pub(crate) fn name(&mut self, spec: &Subscription) {
        self.names.insert(Arc::clone(&spec.name), spec.id);
        self.outcomes.name(spec);
        self.rows.entry(spec.id).or_default().has_records = spec.records;
    }

    /// Applies a batch that was written at that time.
    pub(crate) fn apply(&mut self, now: Timestamp, batch: &[Write]) -> Checked {
        self.now = now;
        let swept = batch.iter().filter_map(|write| match write {
            Write::ExpiryGone(entry) if entry.of == Expiring::Kv => Some((entry.scope.clone(), entry.key.clone())),
            _ => None,
        });
        self.swept = swept.collect();
        let done = batch.iter().filter_map(|write| match write {
            Write::Window { scope, mark } => Some(((Arc::clone(scope), mark.key.clone()), mark.expires)),
            Write::Claim { scope, key, row: Some(row) } if matches!(row.state, ClaimState::Done { .. }) => {
                Some(((Arc::clone(scope), key.clone()), row.expires))
            }
            _ => None,
        });
        self.done = done.collect();
        // All rows of a batch hold at once; whether a decision about a letter ends a delivery depends on where the cursor is.
        let is_place =
            |write: &&Write| matches!(write, Write::Cursor { .. } | Write::Chunk { .. } | Write::LetGo { .. });
        batch.iter().filter(is_place).try_for_each(|write| self.apply_one(write))?;
        batch.iter().filter(|write| !is_place(write)).try_for_each(|write| self.apply_one(write))?;
        if let Some((offset, balance)) = self.unbalanced.iter().next() {
            let what = format!("event {offset}: done claims less follow-ups are {balance} after a batch");
            return broken(rule::EFFECTS_WITH_THEIR_CLAIM, what);
        }
        if let Some(((subscription, offset), balance)) = self.underway.iter().next() {
            let what = format!("{offset} of {subscription}: records less copies are {balance} after a batch");
            return broken(rule::HANDED_ON_WITH_ITS_RECORD, what);
        }
        self.schedule.check_batch()?;
        self.timers.check()?;
        for claim in std::mem::take(&mut self.told_sent) {
            let row = self.claim(&claim.scope, &claim.key);
            let is_done = row.is_some_and(|row| matches!(row.state, ClaimState::Done { .. }));
            must(rule::RESOLVED_ONCE, is_done, || format!("{} was sent, and its claim is not done", claim.key))?;
        }
        let handed_on = self.handed_on.take();
        let is_done = |name: &ClaimName| {
            let row = self.claim(&name.scope, &name.key);
            row.is_some_and(|row| matches!(row.state, ClaimState::Done { .. }))
        };
        handed_on.check(is_done, |place| origin_of(&self.log, place), &self.notes)?;
        for (subscription, rows) in &mut self.rows {
            for (offset, how) in rows.take_ended() {
                self.outcomes.ended(*subscription, &self.log[offset.0 as usize], how);
            }
            for (offset, how) in rows.take_may_have_ended() {
                self.outcomes.may_have_ended(*subscription, &self.log[offset.0 as usize], how);
            }
            rows.check_records()?;
            rows.check_unknown()?;
            rows.check_letters()?;
            if let Some(offset) = rows.settled_and_waiting() {
                return broken(rule::TOLD_ONCE, format!("{subscription}: {offset} is settled and waits"));
            }
        }
        self.outcomes.check()
    }

    fn apply_one(&mut self, write: &Write) -> Checked {
        match write {
            Write::Event(event) => self.append(event),
            Write::Erased(event) => {
                self.log[event.position.offset.0 as usize] = event.clone();
                self.erased.push(event.position.offset);
                Ok(())
            }
            Write::ProducerSequence { producer, epoch, stream, sequence } => {
                let streams = self.sequences.entry((producer.to_string(), *epoch)).or_default();
                streams.insert(*stream, *sequence);
                Ok(())
            }
            Write::Claim { .. }
            | Write::Kv { .. }
            | Write::Window { .. }
            | Write::WindowEnded { .. }
            | Write::ExpiryGone(_)
            | Write::ExpiriesBelow { .. } => self.apply_ending(write),
            Write::Record { subscription, position, row } if !row.recipient.is_empty() => {
                let place = (*subscription, position.offset);
                self.handed_on.noted(place, self.notes.get(place), row);
                self.notes.apply(*subscription, *position, row)
            }
            Write::Record { subscription, position, row } => {
                if row.detail.contains("handed on") {
                    // A copy continues the first event, which for a released one is the scheduled one.
                    let event = self.log.get(position.offset.0 as usize);
                    let first = event.and_then(|event| event.event.timing().released_from).unwrap_or(*position);
                    add(&mut self.underway, (*subscription, first.offset), 1);
                }
                self.check_expired(*subscription, *position, row)?;
                self.rows_mut(*subscription).apply(write)
            }
            Write::Dead { subscription, position, row } => {
                let old = self.rows(*subscription).dead.get(&position.offset).map(|row| row.state);
                if row.state == DeadState::Replayed && old != Some(DeadState::Replayed) && !row.holds_key {
                    let private = definition::private(subscription.0 as usize - 1);
                    let origin = Origin::of(*subscription, Some(private), &row.event);
                    add(&mut self.underway, (origin.subscription, origin.position.offset), 1);
                }
                self.rows_mut(*subscription).apply(write)
            }
            Write::Unknown { subscription, row, .. } => self.told_of(*subscription, row, write),
            Write::RecordGone { .. } | Write::IdChunk { .. } | Write::IdBlock { .. } => Ok(()),
            Write::Scheduled(_)
            | Write::ScheduleEnded { .. }
            | Write::ScheduledTotals { .. }
            | Write::FatesBelow { .. } => self.schedule.apply(write),
            Write::Append { .. }
            | Write::Outcome { .. }
            | Write::Redeliver { .. }
            | Write::Note { .. }
            | Write::Timer { .. } => broken(rule::LOG_HAS_NO_HOLE, "an event reached the disk without a place"),
            Write::Catalog { key, .. } => match key.parse() {
                Ok(subscription) => self.rows_mut(SubscriptionId(subscription)).apply(write),
                Err(_) => Ok(()),
            },
            _ => match write.subscription() {
                Some(subscription) => self.rows_mut(subscription).apply(write),
                None => broken(rule::DRIVER_IS_SOUND, format!("nobody looks after {write:?}")),
            },
        }
    }

    /// Claims, kv entries and what ends them.
    fn apply_ending(&mut self, write: &Write) -> Checked {
        match write {
            Write::Claim { scope, key, row } => {
                self.ends(Expiring::Claim, scope, key, row.as_ref().map(|row| row.expires));
                self.claimed(scope, key, row.clone());
                Ok(())
            }
            Write::Kv { store, key, row } => {
                if let Some(offset) = key.strip_prefix(ACKED).and_then(|offset| offset.parse().ok())
                    && let Some(name) = self.names.get(store)
                    && let Some(rows) = self.rows.get_mut(name)
                {
                    self.timers.acked(*name, Offset(offset));
                    rows.ack(Offset(offset))?;
                }
                if key.starts_with(WEAK) {
                    self.remember(store, key)?;
                }
                let ends = row.as_ref().and_then(|row| row.expires);
                self.ends(Expiring::Kv, store, key, ends);
                let before = self.kv(store, key).and_then(|row| row.expires);
                let is_swept = row.is_none() && self.swept.contains(&(Arc::clone(store), key.clone()));
                let has_ended = before.is_some_and(|before| before <= self.now);
                let may_go = !is_swept || has_ended || !self.kv.get(store).is_some_and(|rows| rows.contains_key(key));
                must(rule::KEPT_ITS_TIME, may_go, || {
                    format!("{key} of {store} went at {} and ends at {before:?}", self.now.0)
                })?;
                put(&mut self.kv, store, key, row.clone());
                Ok(())
            }
            Write::Window { scope, mark } => {
                self.window.insert((Arc::clone(scope), mark.expires, mark.number), mark.clone());
                Ok(())
            }
            Write::WindowEnded { scope, expires, number } => {
                let is_early = |(of, ends, _): &(Arc<str>, Timestamp, u64)| of == scope && *ends > self.now;
                self.window.retain(|place, _| place.0 != *scope || (place.1, place.2) > (*expires, *number));
                must(rule::KEPT_ITS_TIME, !is_early(&(Arc::clone(scope), *expires, *number)), || {
                    format!("marks of {scope} that end at {} went at {}", expires.0, self.now.0)
                })
            }
            Write::ExpiryGone(entry) => {
                self.expiries.remove(entry);
                Ok(())
            }
            Write::ExpiriesBelow { of, below } => {
                self.expiries.retain(|entry| entry.of != *of || entry.second >= *below);
                Ok(())
            }
            _ => broken(rule::DRIVER_IS_SOUND, "a row that does not end was taken for one that does"),
        }
    }

    /// An event is counted under its weak claim.
    fn remember(&mut self, store: &Arc<str>, key: &str) -> Checked {
        let place = (Arc::clone(store), key.to_owned());
        let until = self.remembered.get(&place).copied().unwrap_or_default();
        must(rule::REMEMBERED, until <= self.now, || {
            format!("{key} of {store} happens again at {} and is remembered until {}", self.now.0, until.0)
        })?;
        match self.done.get(&place) {
            Some(ends) => {
                self.remembered.insert(place, *ends);
                Ok(())
            }
            None => broken(rule::EFFECTS_WITH_THEIR_CLAIM, format!("{key} of {store} was counted without its claim")),
        }
    }

    /// The clock may go back now: what had its time is over all the same.
    pub(crate) fn end_remembered(&mut self, now: Timestamp) {
        self.remembered.retain(|_, until| *until > now);
    }

    /// Marks of weak claims, for a restart.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (&Arc<str>, &WindowMark)> {
        self.window.iter().map(|((scope, ..), mark)| (scope, mark))
    }

    /// What finds a row when its time has come.
    fn ends(&mut self, of: Expiring, scope: &Arc<str>, key: &str, expires: Option<Timestamp>) {
        if let Some(expires) = expires {
            let (second, scope) = (Second::from(expires), Arc::clone(scope));
            self.expiries.insert(ExpiryEntry { of, second, scope, key: key.to_owned() });
        }
    }

    /// The first entries of the index whose second has come.
    pub(crate) fn ended(&self, of: Expiring, now: Timestamp, limit: usize) -> Vec<ExpiryEntry> {
        let is_due = |entry: &&ExpiryEntry| entry.of == of && entry.second.has_come(now);
        self.expiries.iter().filter(is_due).take(limit).cloned().collect()
    }

    /// kv rows whose time has come, and what finds them.
    pub(crate) fn left_behind(&self, now: Timestamp) -> Vec<String> {
        let has_ended = |expires| Second::from(expires).has_come(now);
        let rows = self.kv.values().flatten().filter(|(_, row)| row.expires.is_some_and(has_ended));
        let index = self.expiries.iter().filter(|entry| entry.of == Expiring::Kv && entry.second.has_come(now));
        let marks = self.window.values().filter(|mark| mark.expires <= now);
        let rows = rows.map(|row| format!("{row:?}")).chain(index.map(|entry| format!("{entry:?}")));
        rows.chain(marks.map(|mark| format!("{mark:?}"))).collect()
    }

    /// Entries with a time to live that have not ended.
    pub(crate) fn kept(&self, store: &str, now: Timestamp) -> BTreeMap<String, ()> {
        let rows = self.kv.get(store).into_iter().flatten();
        let is_live = |row: &KvRow| row.expires.is_none_or(|expires| expires > now);
        rows.filter(|(key, row)| key.starts_with(KEPT) && is_live(row)).map(|(key, _)| (key.clone(), ())).collect()
    }

    /// A page of kv rows as the host's store gives it, and whether it is the last.
    pub(crate) fn scan(
        &self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> (Vec<(String, KvRow)>, bool) {
        let rows = self.kv.get(store).into_iter().flatten();
        let rows = rows.filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let mut page: Vec<_> = rows.take(limit as usize + 1).map(|(key, row)| (key.clone(), row.clone())).collect();
        let is_end = page.len() <= limit as usize;
        page.truncate(limit as usize);
        (page, is_end)
    }

    /// Told as expired, its event is past its time: as it was published, or as it is in the letter from which it was tried again.
    fn check_expired(&self, subscription: SubscriptionId, position: Position, row: &RecordRow) -> Checked {
        if row.status != RecordStatus::Expired {
            return Ok(());
        }
        let letter = self.rows(subscription).dead.get(&position.offset).map(|letter| &letter.event);
        let events = self.log.get(position.offset.0 as usize).into_iter().chain(letter);
        let is_past = events.into_iter().any(|event| event.event.is_expired(row.at));
        must(rule::EXPIRED_IS_PAST, is_past, || format!("{position} of {subscription} at {}", row.at.0))
    }

    fn claimed(&mut self, scope: &Arc<str>, key: &str, row: Option<ClaimRow>) {
        if let Some(ClaimRow { state: ClaimState::Done { receipt }, .. }) = &row {
            // Guests confirm with a receipt; a person who says that it was sent gives none.
            self.confirms += u64::from(receipt.is_some());
            self.balance(receipt.as_deref(), 1);
        }
        put(&mut self.claims, scope, key, row);
    }

    fn append(&mut self, event: &StoredEvent) -> Checked {
        let offset = event.position.offset;
        let is_next = offset.0 == self.log.len() as u64;
        must(rule::LOG_HAS_NO_HOLE, is_next, || format!("event {offset} comes after {} events", self.log.len()))?;
        self.schedule.stored(event)?;
        self.timers.stored(event);
        if event.topic == FOLLOW_UPS && event.event.timing().released_from.is_none() {
            self.balance(Some(event.event.data()), -1);
        }
        self.outcomes.stored(event);
        if let Some(origin) = event.event.attribute(ORIGIN_ATTRIBUTE).and_then(|text| text.parse::<Origin>().ok()) {
            match origin.late {
                0 => add(&mut self.underway, (origin.subscription, origin.position.offset), -1),
                _ => self.handed_on.copied(origin),
            }
        }
        let lane = event.event.key().map(|key| {
            let (next, class) = (self.lanes.len() as u32, event.event.class());
            *self.lane_numbers.entry((key.to_owned(), class)).or_insert(next)
        });
        if let Some(lane) = lane {
            if lane as usize == self.lanes.len() {
                self.lanes.push(Vec::new());
            }
            self.lanes[lane as usize].push(offset);
        }
        self.lane_of.push(lane);
        self.log.push(event.clone());
        Ok(())
    }

    /// A follow-up and the receipt of its claim both name the event they come from.
    fn balance(&mut self, offset: Option<&[u8]>, by: i64) {
        let offset = offset.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).map(Offset);
        if let Some(offset) = offset {
            add(&mut self.unbalanced, offset, by);
        }
    }

    /// A copy must come in the batch of a row that says that there is one; a row that says that it was sent must come with claims
    /// that are done, which is looked at when the batch was applied.
    fn told_of(&mut self, subscription: SubscriptionId, row: &UnknownRow, write: &Write) -> Checked {
        match row.state {
            UnknownState::Open => {}
            UnknownState::Sent => self.told_sent.extend(row.claims.iter().cloned()),
            UnknownState::NotSent | UnknownState::Retried => {
                let private = definition::private(subscription.0 as usize - 1);
                let origin = Origin::of(subscription, Some(private), &row.event);
                add(&mut self.underway, (origin.subscription, origin.position.offset), 1);
            }
        }
        self.rows_mut(subscription).apply(write)
    }

    fn rows_mut(&mut self, subscription: SubscriptionId) -> &mut Rows {
        self.rows.entry(subscription).or_default()
    }

    pub(crate) fn rows(&self, subscription: SubscriptionId) -> &Rows {
        self.rows.get(&subscription).expect("each subscription is named before anything of it is written")
    }

    pub(crate) fn end(&self) -> Offset {
        Offset(self.log.len() as u64)
    }

    pub(crate) fn lane(&self, offset: Offset) -> LaneNumber {
        self.lane_of.get(offset.0 as usize).copied().flatten()
    }

    /// Events of a lane, oldest first.
    pub(crate) fn in_lane(&self, lane: u32) -> &[Offset] {
        self.lanes.get(lane as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn claim(&self, scope: &str, key: &str) -> Option<ClaimRow> {
        self.claims.get(scope)?.get(key).cloned()
    }

    /// Whether the effect under this claim is known to have happened.
    pub(crate) fn is_done(&self, scope: &str, key: &str, now: Timestamp) -> bool {
        let row = self.claims.get(scope).and_then(|claims| claims.get(key));
        row.is_some_and(|row| matches!(row.state, ClaimState::Done { .. }) && row.expires > now)
    }

    pub(crate) fn kv(&self, store: &str, key: &str) -> Option<KvRow> {
        self.kv.get(store)?.get(key).cloned()
    }

    /// The number in a kv entry.
    pub(crate) fn number(&self, store: &str, key: &str) -> u64 {
        let row = self.kv.get(store).and_then(|entries| entries.get(key));
        row.and_then(|row| std::str::from_utf8(&row.value).ok()?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn sequences(&self, producer: &str, epoch: ProducerEpoch) -> Vec<(StreamId, Sequence)> {
        let streams = self.sequences.get(&(producer.to_owned(), epoch));
        streams.into_iter().flatten().map(|(stream, sequence)| (*stream, *sequence)).collect()
    }
}

/// Adds to a balance; one that is even is forgotten.
fn add<K: Ord>(balances: &mut BTreeMap<K, i64>, key: K, by: i64) {
    let balance = balances.entry(key).or_insert(0);
    *balance += by;
    if *balance == 0 {
        balances.retain(|_, balance| *balance != 0);
    }
}

fn put<V>(rows: &mut BTreeMap<Arc<str>, BTreeMap<String, V>>, outer: &Arc<str>, inner: &str, row: Option<V>) {
    let rows = rows.entry(Arc::clone(outer)).or_default();
    match row {
        Some(row) => drop(rows.insert(inner.to_owned(), row)),
        None => drop(rows.remove(inner)),
    }
}
