//! Verdicts, by return value and by call, right and wrong ones.

use crate::{Given, Tried, tell};
use bugle_plugin::prelude::*;
use bugle_plugin::raw::bugle::plugin::{ack, types};
use std::sync::atomic::{AtomicU64, Ordering};

/// The ticket of the call before this one, on the same instance.
static PREVIOUS: AtomicU64 = AtomicU64::new(0);
/// Calls of this instance.
static CALLS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn run(kind: &str, cx: &Cx, event: &Event<Value>, given: &Given<'_>) -> Tried {
    let ticket = cx.ticket();
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let previous = PREVIOUS.swap(ticket, Ordering::Relaxed);
    let again = || types::Retry { after: None, reason: "said nack".to_owned(), fault: types::Fault::Event };
    Some(match kind {
        "ok" => Ok(()),
        "retry" => retry(given.time("after", Duration::ZERO), given.text("reason", "said retry")),
        "retry-until" if u64::from(cx.attempt()) < given.number("attempt", 3) => retry(None, "not yet"),
        "retry-until" => Ok(()),
        "reject" => reject(given.text("reason", "said reject")),
        "defer" => defer(given.time("millis", Duration::from_millis(10))),
        "unknown" => unknown(given.text("reference", "")),
        "describe" => reject(describe(cx, event)),
        "calls" => reject(format!("call {calls}")),
        "ack" => tell(ack::ack(ticket)),
        "ack-twice" => {
            info!("first {:?}", ack::ack(ticket));
            info!("second {:?}", ack::ack(ticket));
            reject("the first verdict must win")
        }
        "ack-then-nack" => {
            info!("ack {:?}", ack::ack(ticket));
            info!("nack {:?}", ack::nack(ticket, &again()));
            Ok(())
        }
        "ack-then-kv" => {
            info!("ack {:?}", ack::ack(ticket));
            info!("put {:?}", cx.kv().put("late", b"", None));
            Ok(())
        }
        "ack-then-trap" => {
            info!("ack {:?}", ack::ack(ticket));
            panic!("after the ack");
        }
        "ack-then-spin" => {
            info!("ack {:?}", ack::ack(ticket));
            crate::hostile::spin()
        }
        "nack-then-ok" => tell(ack::nack(ticket, &again())),
        "reject-then-ok" => tell(ack::reject(ticket, "said reject by call")),
        "ack-other" => tell(ack::ack(ticket.wrapping_add(given.number("offset", 1)))),
        "ack-zero" => tell(ack::ack(0)),
        "ack-previous" => tell(ack::ack(previous)),
        "extend" => tell(cx.extend(given.time("millis", Duration::from_secs(10)))),
        "attribute" => reject(format!("{:?}", cx.attribute(given.text("name", "subscription")))),
        "pause" => tell(cx.pause_subscription(given.text("reason", "said pause"))),
        "pause-then-trap" => {
            info!("pause {:?}", cx.pause_subscription("said pause"));
            panic!("after the pause");
        }
        "hold" => tell(cx.hold(given.time("millis", Duration::from_millis(100)))),
        "waiting" => tell(cx.waiting()),
        _ => return None,
    })
}

/// All that the host told of the delivery, as JSON.
fn describe(cx: &Cx, event: &Event<Value>) -> String {
    let extensions: Vec<_> = event.extensions().collect();
    json!({
        "id": event.id(), "source": event.source(), "type": event.kind(), "subject": event.subject(),
        "topic": event.topic(), "position": event.position(), "key": event.key(), "time": event.time_text(),
        "datacontenttype": event.content_type(), "extensions": extensions, "bytes": event.data().len(),
        "businessKey": event.business_key(), "attempt": cx.attempt(), "idempotencyKey": cx.idempotency_key(),
        "priority": cx.priority(), "remaining": cx.remaining().as_secs(),
    })
    .to_string()
}
