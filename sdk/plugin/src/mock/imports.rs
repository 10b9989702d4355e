//! The host's functions, with the signatures of the generated bindings, acting on the mock's state.
//!
//! One module per WIT interface. Each checks ticket and grant first, like the host.

#![allow(clippy::missing_errors_doc, reason = "errors are those of the contract")]

use super::current;

pub(crate) fn now() -> u64 {
    current(|state| state.now)
}

pub(crate) mod ack {
    use super::current;
    use crate::Failure;
    use crate::host::wit::types::{Error, Retry};
    use std::time::Duration;

    pub(crate) fn ack(ticket: u64) -> Result<(), Error> {
        current(|state| state.settle(ticket, Ok(())))
    }

    pub(crate) fn nack(ticket: u64, why: &Retry) -> Result<(), Error> {
        let after = why.after.map(Duration::from_millis);
        let failure = Failure::Retry { after, reason: why.reason.clone(), fault: why.fault.into() };
        current(|state| state.settle(ticket, Err(failure)))
    }

    pub(crate) fn reject(ticket: u64, reason: &str) -> Result<(), Error> {
        current(|state| state.settle(ticket, Err(Failure::Reject(reason.to_owned()))))
    }

    pub(crate) fn defer(ticket: u64, until: u64) -> Result<(), Error> {
        current(|state| {
            let by = Duration::from_millis(until.saturating_sub(state.now));
            state.settle(ticket, Err(Failure::Defer(by)))
        })
    }

    pub(crate) fn extend(ticket: u64, by: u64) -> Result<u64, Error> {
        current(|state| {
            let now = state.now;
            let live = state.working(ticket)?;
            live.delivery.deadline += by;
            Ok(live.delivery.deadline.saturating_sub(now))
        })
    }

    pub(crate) fn attribute(ticket: u64, name: &str) -> Result<Option<String>, Error> {
        current(|state| {
            let delivery = &state.known(ticket)?.delivery;
            Ok(match name {
                "attempt" => Some(delivery.attempt.to_string()),
                "idempotency-key" => Some(delivery.idempotency_key.clone()),
                "deadline" => Some(delivery.deadline.to_string()),
                "priority" => Some(delivery.priority.clone()),
                _ => state.attributes.get(name).cloned(),
            })
        })
    }

    pub(crate) fn pause_subscription(ticket: u64, reason: &str) -> Result<(), Error> {
        current(|state| {
            state.granted("pause", "`pause = true` to [grants]")?;
            state.working(ticket)?.pause = Some(reason.to_owned());
            Ok(())
        })
    }
}

pub(crate) mod dedup {
    use super::current;
    use crate::host::wit::dedup::{OpenClaim, Outcome, Strength};
    use crate::host::wit::types::Error;
    use crate::mock::state::{Slot, error};
    use crate::raw::reconciling::exports::bugle::plugin::reconcile::Doubt;

    const DAY: u64 = 86_400_000;

    pub(crate) fn claim(ticket: u64, key: &str, strength: Strength, keep: Option<u64>) -> Result<Outcome, Error> {
        let keep = keep.unwrap_or(match strength {
            Strength::Strong => 30 * DAY,
            Strength::Weak => 10 * 60_000,
        });
        if let Some((ask, delivery)) = current(|state| state.question(ticket, key)) {
            // The plugin is asked while nothing of the host is borrowed: it calls out.
            let answer = ask.0(delivery, Doubt { key: key.to_owned(), reference: String::new() });
            current(|state| state.reconciled(key, keep, answer))?;
        }
        current(|state| {
            if key.is_empty() || key.len() > 512 {
                return Err(error("invalid", "a claim key has 1 to 512 bytes"));
            }
            let live = state.working(ticket)?;
            if let Some(open) = live.open.iter().find(|open| open.key == key) {
                return Ok(Outcome::Claimed(OpenClaim { id: open.id, uncertain: open.uncertain }));
            }
            let uncertain = match state.claims.get(key) {
                Some(Slot::Held) => return Ok(Outcome::Busy(1_000)),
                Some(Slot::Done { receipt, until }) if *until > state.now => {
                    return Ok(Outcome::Done(receipt.clone()));
                }
                Some(Slot::Uncertain) => true,
                Some(Slot::Done { .. }) | None => false,
            };
            let id = state.open_claim(ticket, key, uncertain, keep)?;
            Ok(Outcome::Claimed(OpenClaim { id, uncertain }))
        })
    }

    pub(crate) fn confirm(id: u64, receipt: Option<&[u8]>) -> Result<(), Error> {
        current(|state| {
            if receipt.is_some_and(|receipt| receipt.len() > 4096) {
                return Err(error("too-large", "a receipt has at most 4 KiB"));
            }
            let (open, writes, events) = state.close_claim(id)?;
            state.commit(writes, events);
            let until = state.now.saturating_add(open.keep);
            state.claims.insert(open.key, Slot::Done { receipt: receipt.map(<[u8]>::to_vec), until });
            Ok(())
        })
    }

    pub(crate) fn release(id: u64) -> Result<(), Error> {
        current(|state| {
            let (open, _, _) = state.close_claim(id)?;
            if open.maybe_sent {
                state.claims.insert(open.key, Slot::Uncertain);
                return Err(error("uncertain", "a request left without a complete answer"));
            }
            state.claims.remove(&open.key);
            Ok(())
        })
    }
}

pub(crate) mod ordering {
    use super::current;
    use crate::host::wit::types::Error;
    use crate::mock::state::error;

    pub(crate) fn waiting(ticket: u64) -> Result<u32, Error> {
        current(|state| state.working(ticket).map(|_| 0))
    }

    pub(crate) fn hold(ticket: u64, time: u64) -> Result<(), Error> {
        current(|state| match &state.working(ticket)?.delivery.event.key {
            Some(_) if time <= 86_400_000 => Ok(()),
            _ => Err(error("invalid", "hold needs an ordering key and at most 24 hours")),
        })
    }
}

pub(crate) mod records {
    use super::current;
    use crate::host::wit::records::{SendNote, SendRecord};
    use crate::host::wit::types::Error;

    pub(crate) fn note(ticket: u64, note: &SendNote) -> Result<(), Error> {
        current(|state| {
            let live = state.working(ticket)?;
            let mut note = note.clone();
            note.business_key.get_or_insert_with(|| live.delivery.business_key.clone());
            let event = live.delivery.event.id.clone();
            state.notes.retain(|(id, old)| *id != event || old.recipient != note.recipient);
            state.notes.push((event, note));
            Ok(())
        })
    }

    pub(crate) fn find(business_key: &str, recipient: Option<&str>) -> Result<Vec<SendRecord>, Error> {
        current(|state| {
            let running: Vec<&String> = state.live.iter().map(|live| &live.delivery.event.id).collect();
            let matches = state.notes.iter().rev().filter(|(event, note)| {
                note.business_key.as_deref() == Some(business_key)
                    && recipient.is_none_or(|wanted| note.recipient == wanted)
                    && !running.contains(&event)
            });
            let row = |(event, note): &(String, SendNote)| SendRecord {
                business_key: business_key.to_owned(),
                recipient: note.recipient.clone(),
                event_id: event.clone(),
                status: note.status.clone(),
                provider: note.provider.clone(),
                provider_ref: note.provider_ref.clone(),
                detail: note.detail.clone(),
                updated: state.now,
            };
            Ok(matches.map(row).collect())
        })
    }
}

pub(crate) mod timers {
    use super::current;
    use crate::host::wit::types::Error;
    use crate::mock::state::{Write, error};

    const GRANT: &str = "`timers = true` to [grants]";

    pub(crate) fn set(ticket: u64, name: &str, at: u64, data: &[u8]) -> Result<(), Error> {
        current(|state| {
            state.granted("timers", GRANT)?;
            if name.is_empty() || name.len() > 512 || data.len() > 4096 {
                return Err(error("invalid", "a timer has a name of 1 to 512 bytes and at most 4 KiB of data"));
            }
            let (name, data) = (name.to_owned(), data.to_vec());
            state.working(ticket)?.writes.push(Write::SetTimer { name, at, data });
            Ok(())
        })
    }

    pub(crate) fn cancel(ticket: u64, name: &str) -> Result<bool, Error> {
        current(|state| {
            state.granted("timers", GRANT)?;
            state.working(ticket)?;
            let was_set = state.has_timer(ticket, name);
            state.working(ticket)?.writes.push(Write::CancelTimer { name: name.to_owned() });
            Ok(was_set)
        })
    }
}

pub(crate) mod kv {
    use super::current;
    use crate::host::wit::kv::{Entry, Item};
    use crate::host::wit::types::Error;
    use crate::mock::state::{Stored, Write, error};

    const GRANT: &str = "`kv = true` to [grants]";

    fn entry(stored: &Stored) -> Entry {
        Entry { value: stored.value.clone(), version: stored.version }
    }

    fn write(ticket: u64, key: &str, write: impl FnOnce(String) -> Write) -> Result<(), Error> {
        current(|state| {
            state.granted("kv", GRANT)?;
            if key.is_empty() || key.len() > 512 || key.chars().any(char::is_control) {
                return Err(error("invalid", "a kv key has 1 to 512 bytes and no control characters"));
            }
            let write = write(key.to_owned());
            if matches!(&write, Write::Put { value, .. } if value.len() > 64 << 10) {
                return Err(error("too-large", "a kv value has at most 64 KiB"));
            }
            let live = state.working(ticket)?;
            if live.writes.len() >= 1024 {
                return Err(error("quota", "a call may change 1024 kv entries; split the work over several events"));
            }
            live.writes.push(write);
            Ok(())
        })
    }

    pub(crate) fn get(ticket: u64, key: &str) -> Result<Option<Entry>, Error> {
        current(|state| {
            state.granted("kv", GRANT)?;
            state.working(ticket)?;
            Ok(state.seen(ticket).get(key).map(entry))
        })
    }

    pub(crate) fn put(ticket: u64, key: &str, value: &[u8], ttl: Option<u64>) -> Result<(), Error> {
        write(ticket, key, |key| Write::Put { key, value: value.to_vec(), ttl })
    }

    pub(crate) fn delete(ticket: u64, key: &str) -> Result<(), Error> {
        write(ticket, key, |key| Write::Delete { key })
    }

    pub(crate) fn add(ticket: u64, key: &str, delta: i64, ttl: Option<u64>) -> Result<(), Error> {
        write(ticket, key, |key| Write::Add { key, delta, ttl })
    }

    pub(crate) fn swap(
        ticket: u64,
        key: &str,
        expect: Option<u64>,
        value: Option<&[u8]>,
        ttl: Option<u64>,
    ) -> Result<bool, Error> {
        let found = get(ticket, key)?.map(|entry| entry.version);
        if found != expect || found == Some(0) {
            return Ok(false);
        }
        match value {
            Some(value) => put(ticket, key, value, ttl)?,
            None => delete(ticket, key)?,
        }
        Ok(true)
    }

    pub(crate) fn scan(ticket: u64, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Item>, Error> {
        current(|state| {
            state.granted("kv", GRANT)?;
            state.working(ticket)?;
            if !(1..=256).contains(&limit) {
                return Err(error("invalid", "a scan's limit is 1 to 256"));
            }
            let seen = state.seen(ticket);
            let matches = seen
                .iter()
                .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
            let item = |(key, stored): (&String, &Stored)| Item { key: key.clone(), entry: entry(stored) };
            Ok(matches.take(limit as usize).map(item).collect())
        })
    }
}

pub(crate) mod publish {
    use super::current;
    use crate::host::wit::types::{Error, NewEvent};
    use crate::mock::state::error;

    pub(crate) fn publish(ticket: u64, events: &[NewEvent]) -> Result<Vec<String>, Error> {
        current(|state| {
            state.granted("publish", "`publish = [\"<topic>\"]` to [grants]")?;
            let live = state.working(ticket)?;
            if live.events.len() + events.len() > 256 {
                return Err(error("quota", "a call may publish 256 events; continue from a follow-up event"));
            }
            let mut ids = Vec::new();
            for event in events {
                let derived = format!("{}/{}", live.delivery.idempotency_key, live.events.len());
                let event = NewEvent { id: event.id.clone().or(Some(derived)), ..event.clone() };
                ids.extend(event.id.clone());
                live.events.push(event);
            }
            Ok(ids)
        })
    }
}

pub(crate) mod http {
    use super::current;
    use crate::host::wit::http::{Request, Response};
    use crate::host::wit::types::Error;
    use crate::mock::reply::{Answer, Crash};

    pub(crate) fn send(ticket: u64, request: &Request) -> Result<Response, Error> {
        let answer = current(|state| {
            state.granted("http", "the origin to [egress] allow")?;
            let live = state.working(ticket)?;
            let mut request = request.clone();
            if let Some(name) = request.idempotency_header.take() {
                request.headers.push((name, live.delivery.idempotency_key.clone()));
            }
            let what = format!("{} {}", request.method, request.url);
            let Some(reply) = state.replies.pop_front() else {
                panic!("no answer is scripted for `{what}`: call `host.reply(...)` before `deliver`");
            };
            match &reply.0 {
                Answer::Error(error) if error.code != "maybe-sent" => {}
                Answer::Error(_) | Answer::Crash => {
                    state.mark_maybe_sent(ticket);
                    state.requests.push(request);
                }
                Answer::Complete(_) => state.requests.push(request),
            }
            Ok(reply.0)
        })?;
        match answer {
            Answer::Complete(response) => Ok(response),
            Answer::Error(error) => Err(error),
            Answer::Crash => std::panic::resume_unwind(Box::new(Crash)),
        }
    }

    pub(crate) fn send_all(ticket: u64, requests: &[Request]) -> Vec<Result<Response, Error>> {
        requests.iter().map(|request| send(ticket, request)).collect()
    }
}

pub(crate) mod mail {
    use super::current;
    use crate::host::wit::mail::{Accepted, Message};
    use crate::host::wit::types::Error;
    use crate::mock::reply::{Answer, Crash, MailReply};
    use crate::mock::state::error;

    pub(crate) fn send(ticket: u64, message: &Message) -> Result<Accepted, Error> {
        let (answer, left) = current(|state| {
            state.granted("mail", "`mail = true` to [grants]")?;
            let live = state.working(ticket)?;
            let left = message.message_id.clone().unwrap_or_else(|| live.delivery.idempotency_key.clone());
            if message.to.len() + message.cc.len() + message.bcc.len() == 0 {
                return Err(error("invalid", "a mail needs a recipient"));
            }
            let reply = state.mail_replies.pop_front().unwrap_or_else(|| MailReply::accepted("250 ok"));
            match &reply.0 {
                Answer::Error(error) if error.code != "maybe-sent" => {}
                Answer::Error(_) | Answer::Crash => {
                    state.mark_maybe_sent(ticket);
                    state.mails.push(message.clone());
                }
                Answer::Complete(_) => state.mails.push(message.clone()),
            }
            Ok((reply.0, left))
        })?;
        match answer {
            Answer::Complete(reply) => Ok(Accepted { message_id: format!("{left}@mock"), reply }),
            Answer::Error(error) => Err(error),
            Answer::Crash => std::panic::resume_unwind(Box::new(Crash)),
        }
    }
}

pub(crate) mod secrets {
    use super::current;
    use crate::host::wit::types::Error;
    use crate::mock::state::{State, error};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};

    fn find(state: &State, name: &str) -> Result<Vec<u8>, Error> {
        state.granted("secrets", &format!("`[secrets.{name}]`"))?;
        let missing = || error("not-found", format!("secret `{name}` has no value"));
        state.secrets.get(name).cloned().ok_or_else(missing)
    }

    pub(crate) fn sign(name: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
        let secret = current(|state| find(state, name))?;
        let key = match secret.strip_prefix(b"whsec_") {
            Some(text) => STANDARD_NO_PAD
                .decode(
                    text.trim_ascii_end()
                        .strip_suffix(b"=")
                        .map_or(text, |text| text.strip_suffix(b"=").unwrap_or(text)),
                )
                .map_err(|_| error("invalid", format!("secret `{name}` is not base64 after `whsec_`")))?,
            None => secret,
        };
        let any_length = "HMAC takes a key of any length";
        match algorithm {
            "hmac-sha256" => Ok(Hmac::<sha2::Sha256>::new_from_slice(&key)
                .expect(any_length)
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec()),
            "hmac-sha512" => Ok(Hmac::<sha2::Sha512>::new_from_slice(&key)
                .expect(any_length)
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec()),
            other => Err(error("invalid", format!("unknown algorithm `{other}`"))),
        }
    }

    pub(crate) fn reveal(name: &str) -> Result<Vec<u8>, Error> {
        current(|state| find(state, name))
    }
}

pub(crate) mod config {
    use super::current;

    pub(crate) fn get(name: &str) -> Option<String> {
        current(|state| state.config.get(name).cloned())
    }
}

pub(crate) mod log {
    use super::current;
    use crate::host::wit::log::Level;

    pub(crate) fn emit(level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        current(|state| state.logs.push(format!("{level} {message}{fields}")));
    }
}
