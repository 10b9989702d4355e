//! `/v1/dump`: where every event stands for every subscription, as the rows on disk say, for the independent checker.
//!
//! The lines are those of tests/checker: `log`, `state`, `scan-end`. Payloads are not shown, only their SHA-256. Taken for one
//! moment when nothing moves; on a busy host later events may be missing.
//!
//! Events from before a subscription's start have no line for it. A scheduled event and its released copy are one event, at the
//! place of the first, though that may be gone by its retention. What a retention has let go of has one line a topic, `dropped`.
//!
//! Invariant: only durable rows are read, never what a machine holds in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bugle_core::code::Code;
use bugle_core::event::{Class, StoredEvent};
use bugle_core::ids::{Offset, Position, TopicId};
use bugle_core::row::{CHUNK_OFFSETS, DeadRow, DeadState, Fate, LetGoWhy, RecordStatus, UnknownState};
use bugle_core::spec::Subscription;
use bugle_store::{EventBounds, ReadError, Store, SubscriptionRows};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::failure::Failure;
use crate::host::Host;

/// Read at once.
const PAGE: EventBounds = EventBounds { events_max: 4096, bytes_max: 4 << 20 };

/// Dead letters read at once.
const KEPT_MAX: usize = 1000;

pub(super) async fn dump(State(host): State<Arc<Host>>) -> Result<Response, Failure> {
    let written = tokio::task::spawn_blocking(move || write(&host)).await;
    let lines = written
        .map_err(|error| Failure::internal(Code::Unavailable, &error))?
        .map_err(|error| Failure::internal(Code::StorageFailed, &error))?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// What a dead letter says of its delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// Given up; a copy of it is an event of its own.
    Up,
    /// It waits in its place for a person, or was delivered there after one decided.
    Back,
}

impl Given {
    fn of(row: &DeadRow) -> Given {
        match row.state {
            DeadState::Manual => Given::Back,
            DeadState::Replayed if row.holds_key => Given::Back,
            DeadState::Open | DeadState::Replayed | DeadState::Dismissed => Given::Up,
        }
    }
}

/// Where an event stands in its schedule.
enum Scheduled {
    /// It is delivered as it is.
    Never,
    /// It waits for its time.
    Waits,
    /// It ended without a delivery.
    Ended,
    /// Its time had passed when it was to be released.
    Expired,
    /// This copy of it is delivered.
    Released(StoredEvent),
}

impl Scheduled {
    fn of(store: &Store, stored: &StoredEvent) -> Result<Scheduled, ReadError> {
        if !stored.is_scheduled() {
            return Ok(Scheduled::Never);
        }
        Ok(match store.fate(stored.position.offset)?.map(|row| row.fate) {
            None => Scheduled::Waits,
            Some(Fate::Cancelled | Fate::Replaced { .. }) => Scheduled::Ended,
            Some(Fate::Expired) => Scheduled::Expired,
            Some(Fate::Released { to }) => store.event(to)?.map_or(Scheduled::Ended, Scheduled::Released),
        })
    }

    fn state(&self, store: &Store, standing: &Standing, stored: &StoredEvent) -> Result<&'static str, ReadError> {
        Ok(match self {
            Scheduled::Never => standing.state(store, stored)?,
            Scheduled::Waits => "scheduled",
            Scheduled::Ended => "suppressed",
            Scheduled::Expired => "expired",
            Scheduled::Released(copy) => standing.state(store, copy)?,
        })
    }
}

/// What the rows say of one subscription.
struct Standing {
    spec: Subscription,
    start: Offset,
    rows: SubscriptionRows,
    waiting: BTreeSet<Offset>,
    dead: BTreeMap<Position, Given>,
    /// Those for which a person has to say what became of them.
    unknown: BTreeSet<Position>,
}

fn write(host: &Host) -> Result<String, ReadError> {
    let bus = host.bus();
    let store = bus.store();
    let topics: BTreeMap<_, _> = bus.topics().into_iter().map(|topic| (topic.id, topic.name)).collect();
    let specs = bus.subscriptions().into_iter();
    let read = |spec: Subscription| {
        let start = host.started_at(&spec.name).unwrap_or_default();
        Standing::read(store, spec, start)
    };
    let standings: Vec<Standing> = specs.map(read).collect::<Result<_, _>>()?;
    let mut lines = String::new();
    let mut put = |line: serde_json::Value| {
        lines.push_str(&line.to_string());
        lines.push('\n');
    };
    let (mut events, mut states) = (0u64, 0u64);
    let mut from = Offset(0);
    loop {
        let page = store.events(from, PAGE)?;
        if page.events.is_empty() {
            break;
        }
        from = page.next;
        for stored in &page.events {
            // A released copy is the rest of the life of a scheduled event, and told of there.
            let first = stored.event.timing().released_from;
            if first.map(|first| store.event(first)).transpose()?.flatten().is_some() {
                continue;
            }
            let place = first.unwrap_or(stored.position);
            let fate = Scheduled::of(store, stored)?;
            let topic = topics.get(&stored.topic).map_or("", |name| name);
            put(log_line(stored, place, topic));
            events += 1;
            for standing in standings.iter().filter(|standing| standing.covers(stored.topic, place)) {
                let subscription = &*standing.spec.name;
                let position = place.to_string();
                let state = fate.state(store, standing, stored)?;
                put(json!({ "kind": "state", "subscription": subscription, "position": position, "state": state }));
                states += 1;
            }
        }
    }
    for (id, name) in &topics {
        let below = bus.oldest_of(&[*id]);
        if below > Offset(0) {
            put(json!({ "kind": "dropped", "topic": &**name, "below": crate::host::position(below) }));
        }
    }
    put(json!({ "kind": "scan-end", "events": events, "states": states }));
    Ok(lines)
}

fn log_line(stored: &StoredEvent, place: Position, topic: &str) -> serde_json::Value {
    let event = &stored.event;
    let digest: String = Sha256::digest(event.data()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut line = json!({
        "kind": "log",
        "position": place.to_string(),
        "topic": topic,
        "source": event.source(),
        "id": event.id(),
        "type": event.kind(),
        "class": event.class().word(),
        "digest": digest,
    });
    if let (Some(key), Some(fields)) = (event.key(), line.as_object_mut()) {
        fields.insert("key".to_owned(), key.into());
    }
    line
}

impl Standing {
    fn read(store: &Store, spec: Subscription, start: Offset) -> Result<Standing, ReadError> {
        let rows = store.subscription(spec.id)?;
        let (mut dead, mut unknown) = (BTreeMap::new(), BTreeSet::new());
        loop {
            let last = dead.last_key_value().map(|(position, _)| *position);
            let page = store.dead(spec.id, last, KEPT_MAX)?;
            if page.is_empty() {
                break;
            }
            dead.extend(page.into_iter().map(|entry| (entry.position, Given::of(&entry.row))));
        }
        let mut last = None;
        loop {
            let page = store.unknown(spec.id, last, KEPT_MAX)?;
            let Some(end) = page.last() else { break };
            last = Some(end.position);
            // Of the others a person has said what became of them.
            let open = page.iter().filter(|entry| entry.row.state == UnknownState::Open);
            unknown.extend(open.map(|entry| entry.position));
        }
        Ok(Standing {
            waiting: store.waiting(spec.id).map(|row| row.map(|(offset, _)| offset)).collect::<Result<_, _>>()?,
            start,
            spec,
            rows,
            dead,
            unknown,
        })
    }

    fn covers(&self, topic: TopicId, place: Position) -> bool {
        self.spec.covered().contains(&topic) && place.offset >= self.start
    }

    fn state(&self, store: &Store, stored: &StoredEvent) -> Result<&'static str, ReadError> {
        let position = stored.position;
        Ok(if !self.spec.wants(stored) {
            "filtered"
        } else if self.dead.get(&position) == Some(&Given::Up) {
            "dead"
        } else if self.unknown.contains(&position) {
            "unknown"
        } else if self.is_settled(position.offset) && self.has_expired(store, stored)? {
            "expired"
        } else if self.is_settled(position.offset) {
            self.let_go(position.offset).unwrap_or("acked")
        } else if self.waiting.contains(&position.offset) {
            "waiting"
        } else {
            "ready"
        })
    }

    /// Whether a delivery ended since the time of its event had passed. Most events have none and cost no look.
    fn has_expired(&self, store: &Store, stored: &StoredEvent) -> Result<bool, ReadError> {
        let has_time = stored.event.timing().expires.is_some();
        let record = if has_time { store.record_of_delivery(self.spec.id, stored)? } else { None };
        Ok(record.is_some_and(|row| row.status == RecordStatus::Expired))
    }

    /// How the run of the log ended that an offset lies in, if it was let go. What was acked within it before is told so too.
    fn let_go(&self, offset: Offset) -> Option<&'static str> {
        let row = self.rows.let_go.iter().rev().find(|row| row.from <= offset && offset < row.to)?;
        Some(match row.why {
            LetGoWhy::Expired => "expired",
            LetGoWhy::Sought => "suppressed",
        })
    }

    fn is_settled(&self, offset: Offset) -> bool {
        // Lanes are per class, but one cursor, that of the default class, covers all of them.
        let class = Class::default();
        let cursor = self.rows.cursors.iter().find(|(found, _)| *found == class);
        if cursor.is_some_and(|(_, row)| offset < row.floor) {
            return true;
        }
        let number = offset.0 / CHUNK_OFFSETS;
        let bit = offset.0 % CHUNK_OFFSETS;
        let chunks = self.rows.chunks.iter();
        let mut of_class = chunks.filter(|(found, at, _)| *found == class && *at == number);
        of_class.any(|(_, _, chunk)| {
            let word = usize::try_from(bit / 64).ok().and_then(|word| chunk.0.get(word));
            word.is_some_and(|word| word & (1 << (bit % 64)) != 0)
        })
    }
}
