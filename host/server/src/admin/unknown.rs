//! `/v1/unknown`: deliveries that may have been sent, and what people say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::dead::place;
use super::failure::Answer;
use crate::api::{ResolveRequest, Resolved, UnknownFilter, UnknownView};
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    subscription: Option<String>,
    #[serde(default = "page")]
    limit: usize,
    position: Option<String>,
    r#type: Option<String>,
    key: Option<String>,
    since: Option<String>,
    until: Option<String>,
    revision: Option<String>,
    state: Option<String>,
}

fn page() -> usize {
    100
}

/// They carry their events, so a page is kept small.
const LIST_MAX: usize = 1000;

pub(super) async fn list(
    State(host): State<Arc<Host>>,
    query: Result<Query<List>, QueryRejection>,
) -> Answer<Vec<UnknownView>> {
    let Query(List { subscription, limit, position, r#type, key, since, until, revision, state }) = query?;
    let filter = UnknownFilter { position, kind: r#type, key, since, until, revision, state };
    Ok(Json(host.unknown(subscription.as_deref(), &filter, limit.clamp(1, LIST_MAX)).await?))
}

pub(super) async fn show(
    State(host): State<Arc<Host>>,
    Path((subscription, position)): Path<(String, String)>,
) -> Answer<UnknownView> {
    Ok(Json(host.unknown_result(&subscription, place(&position)?).await?))
}

pub(super) async fn resolve(
    State(host): State<Arc<Host>>,
    body: Result<Json<ResolveRequest>, JsonRejection>,
) -> Answer<Resolved> {
    let Json(request) = body?;
    Ok(Json(host.resolve(&request).await?))
}
