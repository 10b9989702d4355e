//! `/v1/topics/{topic}/scheduled` and `.../scheduled/cancel`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use bugle_broker::{CancelError, CancelWhat};
use bugle_core::ids::Offset;
use bugle_core::schedule::Due;
use bugle_core::time::Timestamp;
use serde::Deserialize;

use super::failure::{Answer, Failure};
use super::topics::unknown;
use crate::api::{CancelRequest, CancelledView, ScheduledList};
use crate::host::Host;
use crate::moment;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// A due time, or `next` of the page before.
    from: Option<String>,
    #[serde(default = "page")]
    limit: usize,
}

fn page() -> usize {
    100
}

pub(super) async fn list(
    State(host): State<Arc<Host>>,
    Path(topic): Path<String>,
    query: Result<Query<List>, QueryRejection>,
) -> Answer<ScheduledList> {
    let Query(List { from, limit }) = query?;
    let id = host.bus().topic(&topic).ok_or_else(|| unknown(&topic))?;
    let from = match from.as_deref() {
        None => Due::default(),
        Some(text) => place(text).ok_or_else(|| {
            Failure::invalid(format!(
                "`{text}` is not a place in the schedule; give a time such as `2026-11-25T10:00:00Z`, or `next` of a page"
            ))
        })?,
    };
    Ok(Json(host.scheduled(id, from, limit).await?))
}

pub(super) async fn cancel(
    State(host): State<Arc<Host>>,
    Path(topic): Path<String>,
    body: Result<Json<CancelRequest>, JsonRejection>,
) -> Answer<CancelledView> {
    let what = match body?.0 {
        CancelRequest { source: Some(source), id: Some(id), key: None } => CancelWhat::Id { source, id },
        CancelRequest { source: None, id: None, key: Some(key) } => CancelWhat::Key(key),
        _ => return Err(Failure::invalid("give `source` and `id` of one event, or the `key` of several".to_owned())),
    };
    match host.cancel_scheduled(&topic, what).await {
        Ok(view) => Ok(Json(view)),
        Err(CancelError::UnknownTopic(topic)) => Err(unknown(&topic)),
        Err(CancelError::Read(error)) => Err(error.into()),
        Err(CancelError::Stopped(error)) => Err(error.into()),
    }
}

fn place(text: &str) -> Option<Due> {
    if let Some(at) = moment::parse(text) {
        return Some(Due { at, offset: Offset(0) });
    }
    let (at, offset) = text.split_once('-')?;
    Some(Due { at: Timestamp(at.parse().ok()?), offset: Offset(offset.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::{Due, Offset, Timestamp, place};

    #[test]
    fn a_place_is_a_time_or_what_a_page_said() {
        assert_eq!(place("1970-01-01T00:00:01Z"), Some(Due { at: Timestamp(1_000), offset: Offset(0) }));
        assert_eq!(place("1000-7"), Some(Due { at: Timestamp(1_000), offset: Offset(7) }));
        for bad in ["", "tomorrow", "7", "-", "1-x", "1-2-3"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
