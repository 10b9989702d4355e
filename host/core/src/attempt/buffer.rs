//! The imports that buffer: kv, follow-up events, send records. Each answers the guest at once or after one look-up.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::effects::{Local, Scan, expiry};
use super::{Attempt, Look, Next, Pending, done, limits, refuse};
use crate::code::Code;
use crate::ids::TopicId;
use crate::import::{Entry, NewEvent, Note, Reply};
use crate::row::{KvRow, RecordRow};
use crate::time::{Millis, Timestamp};
use crate::timer::{TIMERS_MAX, TimerChange, timer_event};

impl Attempt {
    pub(super) fn kv_get(&mut self, key: String) -> Next {
        match self.effects.own(&key) {
            Some(entry) => Next::Reply(Ok(Reply::Entry(entry))),
            None => self.ask(Pending::KvGet { key: key.clone() }, Next::Look(Look::Kv { key })),
        }
    }

    pub(super) fn kv_put(&mut self, now: Timestamp, key: String, value: Vec<u8>, ttl: Option<Millis>) -> Next {
        self.buffer(key, Local::Put { value, expires: expiry(now, ttl) })
    }

    pub(super) fn kv_delete(&mut self, key: String) -> Next {
        self.buffer(key, Local::Delete)
    }

    pub(super) fn kv_add(&mut self, now: Timestamp, key: String, delta: i64, ttl: Option<Millis>) -> Next {
        self.buffer(key, Local::Add { delta, expires: expiry(now, ttl) })
    }

    fn buffer(&mut self, key: String, local: Local) -> Next {
        match self.effects.push_kv(key, local) {
            Ok(()) => done(),
            Err(error) => Next::Reply(Err(error)),
        }
    }

    pub(super) fn kv_swap(
        &mut self,
        now: Timestamp,
        key: String,
        expect: Option<u64>,
        value: Option<Vec<u8>>,
        ttl: Option<Millis>,
    ) -> Next {
        let effect = match value {
            Some(value) => Local::Put { value, expires: expiry(now, ttl) },
            None => Local::Delete,
        };
        match self.effects.own(&key) {
            Some(entry) => self.swap(key, expect, effect, entry),
            None => self.ask(Pending::KvSwap { key: key.clone(), expect, effect }, Next::Look(Look::Kv { key })),
        }
    }

    pub(super) fn kv_swapped(&mut self, key: String, expect: Option<u64>, effect: Local, row: Option<KvRow>) -> Next {
        match self.effects.kv_read(key.clone(), row) {
            Ok(entry) => self.swap(key, expect, effect, entry),
            Err(error) => Next::Reply(Err(error)),
        }
    }

    fn swap(&mut self, key: String, expect: Option<u64>, effect: Local, entry: Option<Entry>) -> Next {
        let version = entry.map(|entry| entry.version);
        if version != expect || version == Some(0) {
            return Next::Reply(Ok(Reply::Swapped(false)));
        }
        match self.effects.push_kv(key, effect) {
            Ok(()) => Next::Reply(Ok(Reply::Swapped(true))),
            Err(error) => Next::Reply(Err(error)),
        }
    }

    pub(super) fn kv_scan(&mut self, scan: Scan) -> Next {
        let Scan { prefix, after, limit } = scan.clone();
        self.ask(Pending::KvScan(scan), Next::Look(Look::KvScan { prefix, after, limit }))
    }

    /// An empty page means the end to the guest, so a page of which nothing is left is passed over.
    pub(super) fn kv_scanned(&mut self, now: Timestamp, scan: Scan, rows: Vec<(String, KvRow)>, is_end: bool) -> Next {
        let last = rows.last().filter(|_| !is_end).map(|(key, _)| key.clone());
        match self.effects.kv_scanned(now, &scan, rows, last.as_deref()) {
            Err(error) => Next::Reply(Err(error)),
            Ok(entries) if entries.is_empty() && last.is_some() => self.kv_scan(Scan { after: last, ..scan }),
            Ok(entries) => Next::Reply(Ok(Reply::Entries(entries))),
        }
    }

    pub(super) fn note(&mut self, now: Timestamp, note: Note) -> Next {
        let row = RecordRow {
            business_key: note.business_key,
            recipient: note.recipient,
            status: note.status,
            provider: note.provider,
            provider_reference: note.provider_reference,
            detail: note.detail,
            attempt: self.facts.attempt,
            at: now,
            event_id: self.facts.event_id.clone(),
            follow: self.follows(now, note.status),
        };
        match self.effects.push_record(row) {
            Ok(()) => done(),
            Err(error) => Next::Reply(Err(error)),
        }
    }

    pub(super) fn set_timer(&mut self, name: String, at: Timestamp, data: Vec<u8>) -> Next {
        match self.effects.own_timer(&name) {
            Some(true) => self.timer_set(name, (at, data), false),
            Some(false) | None => {
                let look = Look::Timers { name: name.clone() };
                self.ask(Pending::SetTimer { name, at, data }, Next::Look(look))
            }
        }
    }

    pub(super) fn timer_set(&mut self, name: String, (at, data): (Timestamp, Vec<u8>), is_full: bool) -> Next {
        if is_full {
            let text = format!("{TIMERS_MAX} timers of this subscription wait; cancel some, or keep what is due in kv");
            return refuse(Code::Quota, text);
        }
        let number = self.effects.next_id();
        let id = format!("{}.{number}", self.facts.idempotency_key);
        let event = Some(timer_event(&name, id, at, data));
        self.change_timer(TimerChange { name, event, hops: self.facts.hops }, done())
    }

    pub(super) fn cancel_timer(&mut self, name: String) -> Next {
        match self.effects.own_timer(&name) {
            Some(is_set) => self.timer_cancelled(name, is_set),
            None => {
                let look = Look::Timers { name: name.clone() };
                self.ask(Pending::CancelTimer { name }, Next::Look(look))
            }
        }
    }

    pub(super) fn timer_cancelled(&mut self, name: String, is_set: bool) -> Next {
        let reply = Next::Reply(Ok(Reply::Cancelled(is_set)));
        match is_set {
            true => self.change_timer(TimerChange { name, event: None, hops: self.facts.hops }, reply),
            false => reply,
        }
    }

    fn change_timer(&mut self, change: TimerChange, reply: Next) -> Next {
        match self.effects.push_timer(change) {
            Ok(()) => reply,
            Err(error) => Next::Reply(Err(error)),
        }
    }

    pub(super) fn publish(&mut self, events: Vec<NewEvent>) -> Next {
        if self.facts.hops >= limits::HOPS_MAX {
            let hops = self.facts.hops;
            return refuse(Code::Quota, format!("this event is the {hops}th follow-up in a row; a loop is refused"));
        }
        let names = events.iter().map(|event| event.topic.clone()).collect();
        self.ask(Pending::Publish(events), Next::Look(Look::Topics(names)))
    }

    pub(super) fn published(&mut self, events: Vec<NewEvent>, topics: Vec<Option<TopicId>>) -> Next {
        assert!(events.len() == topics.len(), "the driver answers one number per topic name");
        if let Some((event, _)) = events.iter().zip(&topics).find(|(_, topic)| topic.is_none()) {
            return refuse(
                Code::UnknownTopic,
                format!("topic `{}` does not exist; create it with `bugle topic create`", event.topic),
            );
        }
        let hops = self.facts.hops + 1;
        let mut ids = Vec::with_capacity(events.len());
        for (mut event, topic) in events.into_iter().zip(topics.into_iter().flatten()) {
            let number = self.effects.next_id();
            let id = event.id.take().unwrap_or_else(|| format!("{}.{number}", self.facts.idempotency_key));
            event.id = Some(id.to_string());
            if let Err(error) = self.effects.push_follow_up(topic, event, hops) {
                return Next::Reply(Err(error));
            }
            ids.push(id);
        }
        Next::Reply(Ok(Reply::Ids(ids)))
    }
}
