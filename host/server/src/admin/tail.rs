//! `/v1/topics/{topic}/events`: pages of events, and waiting for the next ones.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use bugle_core::code::Code;
use bugle_core::ids::{Offset, Position, Slot};
use bugle_store::EventBounds;
use serde::Deserialize;
use tokio::time::Instant;

use super::failure::Answer;
use super::topics::unknown;
use crate::api::TailPage;
use crate::definition::Start;
use crate::event_json;
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    from: Option<String>,
    #[serde(default = "page")]
    limit: usize,
    #[serde(default)]
    wait_ms: u64,
}

fn page() -> usize {
    100
}

/// A page holds at most this many events.
const PAGE_EVENTS_MAX: usize = 1000;

/// A page holds about this many bytes of events.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Events of other topics looked at before an answer is given, empty or not.
const LOOKED_AT_MAX: usize = 100_000;

/// Nobody waits longer; the caller asks again.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How often a waiting request looks at the end of the log: an atomic read.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn events(
    State(host): State<Arc<Host>>,
    Path(topic): Path<String>,
    query: Result<Query<Page>, QueryRejection>,
) -> Answer<TailPage> {
    let Query(page) = query?;
    let id = host.bus().topic(&topic).ok_or_else(|| unknown(&topic))?;
    let start: Start = match page.from.as_deref().unwrap_or("latest").parse() {
        Ok(start) => start,
        Err(problem) => return Err(super::failure::Failure::invalid(problem)),
    };
    let mut from = host.offset_of(start).await?;
    if let (Start::At(_), Some(problem)) = (start, host.not_kept(&[id], from)) {
        return Err(super::failure::Failure::new(Code::NotFound, problem));
    }
    let limit = page.limit.clamp(1, PAGE_EVENTS_MAX);
    let until = Instant::now() + Duration::from_millis(page.wait_ms).min(WAIT_MAX);
    let mut events = Vec::new();
    let mut looked_at = 0;
    while events.len() < limit && looked_at < LOOKED_AT_MAX {
        if from >= host.bus().end() {
            if !events.is_empty() || Instant::now() >= until || host.is_stopping() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let bounds = EventBounds { events_max: PAGE_EVENTS_MAX, bytes_max: PAGE_BYTES_MAX };
        let read = host.bus().read(from, bounds).await?;
        if read.events.is_empty() {
            break;
        }
        looked_at += read.events.len();
        let mut next = read.next;
        for stored in read.events.iter().filter(|stored| stored.topic == id) {
            if events.len() == limit {
                next = stored.position.offset;
                break;
            }
            events.push(event_json::view(stored, &topic));
        }
        from = next;
    }
    let next = text(from);
    Ok(Json(TailPage { events, next }))
}

fn text(offset: Offset) -> String {
    let slot = Slot(0);
    Position { slot, offset }.to_string()
}
