//! The host's own stores: kv, follow-up events, send records.

use crate::{Given, Tried, tell};
use bugle_plugin::prelude::*;

pub(crate) fn run(kind: &str, cx: &Cx, event: &Event<Value>, given: &Given<'_>) -> Tried {
    kv(kind, cx, event, given).or_else(|| other(kind, cx, event, given))
}

fn kv(kind: &str, cx: &Cx, event: &Event<Value>, given: &Given<'_>) -> Tried {
    let (kv, key) = (cx.kv(), given.text("key", "k"));
    let ttl = given.optional_time("ttl");
    let value = given.text("value", "v").as_bytes();
    Some(match kind {
        "echo" => tell(kv.put(&format!("echo/{}", event.id()), event.data(), None)),
        "kv-incr" => tell(kv.add(key, 1, ttl)),
        "kv-read-modify-write" => (|| {
            let old: u64 = kv.get_json(key)?.unwrap_or(0);
            Ok(kv.put_json(key, &(old + 1), ttl)?)
        })(),
        // After its first attempt it waits until there is an entry `go`.
        "trap-when" => (|| {
            if cx.attempt() > 1 && kv.get("go")?.is_none() {
                return defer(Duration::from_millis(20));
            }
            panic!("said trap")
        })(),
        "kv-put" => tell(kv.put(key, value, ttl)),
        "kv-put-then-retry" => {
            kv.put(key, value, ttl).map_err(Failure::from).and_then(|()| retry(None, "after the put"))
        }
        "kv-put-then-trap" => {
            info!("put {:?}", kv.put(key, value, ttl));
            panic!("after the put");
        }
        "kv-get" => match kv.get(key) {
            Ok(entry) => reject(format!("{:?}", entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))),
            Err(error) => tell::<()>(Err(error)),
        },
        "kv-swap" => {
            let expect = given.optional("expect").and_then(|expect| expect.parse().ok());
            match kv.swap(key, expect, Some(value), ttl) {
                Ok(true) => Ok(()),
                Ok(false) => reject("not swapped"),
                Err(error) => tell::<()>(Err(error)),
            }
        }
        "kv-delete" => tell(kv.delete(key)),
        "kv-scan" => match kv.scan(
            given.text("prefix", ""),
            given.optional("after"),
            u32::try_from(given.number("limit", 256)).unwrap_or(u32::MAX),
        ) {
            Ok(items) => reject(items.into_iter().map(|item| item.key).collect::<Vec<_>>().join(" ")),
            Err(error) => tell::<()>(Err(error)),
        },
        "kv-huge" => tell(kv.put(key, &vec![7; bytes(given)], ttl)),
        "kv-flood" => {
            let put = |n| kv.put(&format!("flood/{n}"), value, ttl);
            tell((0..given.number("count", 100_000)).try_for_each(put))
        }
        _ => return None,
    })
}

fn other(kind: &str, cx: &Cx, event: &Event<Value>, given: &Given<'_>) -> Tried {
    let kv = cx.kv();
    let publish = || {
        let follow_up = cx.publish(given.text("topic", "next"), "followed").json(event.body());
        let follow_up = given.optional("id").into_iter().fold(follow_up, |follow_up, id| follow_up.id(id));
        event.key().into_iter().fold(follow_up, |follow_up, key| follow_up.key(key)).send()
    };
    let note = || {
        let note = cx.note(given.text("recipient", "someone"), given.text("status", "sent"));
        note.provider("probe").reference(given.text("reference", "r-1")).detail("by the probe").save()
    };
    Some(match kind {
        "publish" => tell(publish()),
        "publish-then-retry" => {
            info!("published {:?}", publish());
            retry(None, "after the publish")
        }
        "publish-huge" => tell(cx.publish(given.text("topic", "next"), "x").data("x/y", vec![7; bytes(given)]).send()),
        "fan-out" => fan_out(cx, given),
        "publish-flood" => {
            let publish = |_| cx.publish(given.text("topic", "next"), "x").send().map(drop);
            tell((0..given.number("count", 100_000)).try_for_each(publish))
        }
        "timer" | "timer-then-retry" | "timer-then-trap" => {
            let (name, at) = (given.text("name", "t"), cx.now() + Duration::from_millis(given.number("after", 0)));
            let set = cx.set_timer(name, at, given.text("data", "ok").as_bytes());
            let due = crate::unix_ms(at);
            let set = set
                .and_then(|()| Ok(kv.put(&format!("due/{}", &name[..name.len().min(100)]), due.as_bytes(), None)?));
            match kind {
                "timer-then-retry" => retry(None, format!("after the timer: {set:?}")),
                "timer-then-trap" => panic!("after the timer: {set:?}"),
                _ => tell(set),
            }
        }
        "timer-cancel" => match cx.cancel_timer(given.text("name", "t")) {
            Ok(was_set) => tell(kv_of(cx, &format!("cancelled/{}", event.id()), was_set)),
            Err(error) => tell::<()>(Err(error)),
        },
        "timer-flood" => {
            let set = |n| cx.set_timer_in(&format!("t-{n}"), Duration::from_secs(3600), b"");
            tell((0..given.number("count", 257)).try_for_each(set))
        }
        "records" => tell(note()),
        "records-then-retry" => {
            info!("noted {:?}", note());
            retry(None, "after the note")
        }
        "records-find" => {
            match cx.find_records(given.text("businessKey", event.business_key()), given.optional("recipient")) {
                Ok(rows) => reject(
                    rows.iter().map(|row| format!("{}={}", row.recipient, row.status)).collect::<Vec<_>>().join(" "),
                ),
                Err(error) => tell::<()>(Err(error)),
            }
        }
        "records-flood" => {
            let note = |n| cx.note(&format!("r-{n}"), "sent").save();
            tell((0..given.number("count", 100_000)).try_for_each(note))
        }
        _ => return None,
    })
}

/// `count` events to a topic, in pages; the recipient is key and data of each.
fn fan_out(cx: &Cx, given: &Given<'_>) -> Outcome {
    let (count, size) = (given.number("count", 1000), given.number("page", 250));
    cx.fan_out("all").run(|page| {
        let first: u64 = page.cursor().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let last = (first + size).min(count);
        for recipient in first..last {
            page.publish(given.text("topic", "next"), "followed").json(&recipient).send()?;
        }
        Ok((last < count).then(|| last.to_string()))
    })
}

fn kv_of(cx: &Cx, key: &str, value: bool) -> Result<(), HostError> {
    cx.kv().put(key, value.to_string().as_bytes(), None)
}

fn bytes(given: &Given<'_>) -> usize {
    usize::try_from(given.number("bytes", 8 << 20)).unwrap_or(usize::MAX)
}
