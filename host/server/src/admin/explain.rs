//! `/v1/explain`: where an event or a key is, what it waits for, what happens next.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::failure::{Answer, Failure};
use crate::api::ExplainView;
use crate::host::{Host, Wanted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    event: Option<String>,
    topic: Option<String>,
    source: Option<String>,
    id: Option<String>,
    key: Option<String>,
    subscription: Option<String>,
}

pub(super) async fn explain(
    State(host): State<Arc<Host>>,
    query: Result<Query<Explain>, QueryRejection>,
) -> Answer<ExplainView> {
    let Query(query) = query?;
    let subscription = query.subscription.clone();
    let wanted = wanted(query)?;
    Ok(Json(host.explain(wanted, subscription.as_deref()).await?))
}

fn wanted(query: Explain) -> Result<Wanted, Failure> {
    match query {
        Explain { event: Some(event), topic: None, source: None, id: None, key: None, .. } => event
            .parse()
            .map(Wanted::Position)
            .map_err(|problem| Failure::invalid(format!("`event={event}`: {problem}"))),
        Explain { event: None, topic: Some(topic), source: Some(source), id: Some(id), key: None, .. } => {
            Ok(Wanted::Id { topic, source, id })
        }
        Explain { event: None, topic: None, source: None, id: None, key: Some(key), .. } => Ok(Wanted::Key(key)),
        _ => Err(Failure::invalid("ask for `event`, or `key`, or `topic`, `source` and `id` together")),
    }
}
