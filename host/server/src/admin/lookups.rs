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
use crate::api::{IdView, RecordView};
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    business_key: String,
    recipient: Option<String>,
    subscription: Option<String>,
}

pub(super) async fn records(
    State(host): State<Arc<Host>>,
    query: Result<Query<Records>, QueryRejection>,
) -> Answer<Vec<RecordView>> {
    let Query(wanted) = query?;
    let mut found = host.records(wanted.business_key, wanted.recipient).await?;
    if let Some(subscription) = wanted.subscription {
        found.retain(|record| record.subscription == subscription);
    }
    Ok(Json(found))
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
