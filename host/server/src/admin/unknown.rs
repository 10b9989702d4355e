//! `/v1/unknown`: deliveries that may have been sent, and what people say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};

use super::failure::Answer;
use super::kept::{List, place};
use crate::api::{ResolveRequest, Resolved, UnknownView};
use crate::host::Host;

pub(super) async fn list(
    State(host): State<Arc<Host>>,
    query: Result<Query<List>, QueryRejection>,
) -> Answer<Vec<UnknownView>> {
    let (subscription, filter, limit) = query?.0.parts();
    Ok(Json(host.unknown(subscription.as_deref(), &filter, limit).await?))
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
