//! `/v1/records` and `/v1/topics/{topic}/ids`: what became of something.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use bugle_core::ids::Name;
use bugle_core::publish::IdState;
use serde::Deserialize;

use super::failure::Answer;
use super::topics::unknown;
use crate::api::{IdView, RecordFilter, RecordView};
use crate::host::Host;
use crate::quantity::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    #[serde(alias = "business_key")]
    key: Option<String>,
    recipient: Option<String>,
    event: Option<String>,
    provider_ref: Option<String>,
    subscription: Option<String>,
}

pub(super) async fn records(
    State(host): State<Arc<Host>>,
    query: Result<Query<Records>, QueryRejection>,
) -> Answer<Vec<RecordView>> {
    let Query(Records { key, recipient, event, provider_ref, subscription }) = query?;
    Ok(Json(host.records(&RecordFilter { key, recipient, event, provider_ref, subscription }).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Late {
    #[serde(default = "hour")]
    older: Duration,
    subscription: Option<String>,
    #[serde(default = "page")]
    limit: usize,
}

fn hour() -> Duration {
    Duration::from_secs(3600)
}

fn page() -> usize {
    100
}

pub(super) async fn late_records(
    State(host): State<Arc<Host>>,
    query: Result<Query<Late>, QueryRejection>,
) -> Answer<Vec<RecordView>> {
    let Query(Late { older, subscription, limit }) = query?;
    Ok(Json(host.late_records(older.0, subscription.as_deref(), limit.max(1)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Id {
    source: String,
    id: String,
}

pub(super) async fn id(
    State(host): State<Arc<Host>>,
    Path(topic): Path<String>,
    query: Result<Query<Id>, QueryRejection>,
) -> Answer<IdView> {
    let Query(Id { source, id }) = query?;
    let name = Name::from(topic.as_str());
    let state = host.bus().query(name, source, id).await?;
    let state = state.ok_or_else(|| unknown(&topic))?;
    Ok(Json(match state {
        IdState::Stored(position) => IdView { state: "stored".to_owned(), position: Some(position.to_string()) },
        IdState::NotInWindow => IdView { state: "not-in-window".to_owned(), position: None },
    }))
}
