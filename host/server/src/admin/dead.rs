//! `/v1/dead` and `/v1/audit`: dead letters, what people do about them, and what people did.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::{Answer, Failure};
use super::kept::{LIST_MAX, List, page, place};
use crate::api::{AuditView, DeadChanged, DeadRequest, DeadView, ReplayPlan, ReplayRequest};
use crate::host::{Host, ReplayJob};
use crate::moment;

pub(super) async fn list(
    State(host): State<Arc<Host>>,
    query: Result<Query<List>, QueryRejection>,
) -> Answer<Vec<DeadView>> {
    let (subscription, filter, limit) = query?.0.parts();
    Ok(Json(host.dead(subscription.as_deref(), &filter, limit).await?))
}

pub(super) async fn show(
    State(host): State<Arc<Host>>,
    Path((subscription, position)): Path<(String, String)>,
) -> Answer<DeadView> {
    Ok(Json(host.dead_letter(&subscription, place(&position)?).await?))
}

pub(super) async fn edit(
    State(host): State<Arc<Host>>,
    Path((subscription, position)): Path<(String, String)>,
    body: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Answer<DeadView> {
    let Json(event) = body?;
    Ok(Json(host.edit_letter(&subscription, place(&position)?, event).await?))
}

pub(super) async fn plan(
    State(host): State<Arc<Host>>,
    body: Result<Json<ReplayRequest>, JsonRejection>,
) -> Answer<ReplayPlan> {
    let Json(request) = body?;
    Ok(Json(host.plan_replay(&request).await?))
}

/// Answers with one line of progress per batch, the last one with `is_done`. Ends when the caller goes away.
pub(super) async fn replay(
    State(host): State<Arc<Host>>,
    body: Result<Json<ReplayRequest>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(request) = body?;
    let job = host.replay(&request).await?;
    let lines = stream::unfold(Some(job), |job: Option<ReplayJob>| async {
        let mut job = job?;
        let progress = job.step().await;
        let mut line = serde_json::to_vec(&progress).unwrap_or_default();
        line.push(b'\n');
        let rest = (!progress.is_done).then_some(job);
        Some((Ok::<Bytes, Infallible>(line.into()), rest))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

pub(super) async fn dismiss(
    State(host): State<Arc<Host>>,
    body: Result<Json<DeadRequest>, JsonRejection>,
) -> Answer<DeadChanged> {
    let Json(request) = body?;
    Ok(Json(host.dismiss(&request).await?))
}

pub(super) async fn purge(
    State(host): State<Arc<Host>>,
    body: Result<Json<DeadRequest>, JsonRejection>,
) -> Answer<DeadChanged> {
    let Json(request) = body?;
    Ok(Json(host.purge(&request).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audited {
    #[serde(default = "week")]
    since: String,
    #[serde(default = "page")]
    limit: usize,
}

fn week() -> String {
    "7d".to_owned()
}

pub(super) async fn audit(
    State(host): State<Arc<Host>>,
    query: Result<Query<Audited>, QueryRejection>,
) -> Answer<Vec<AuditView>> {
    let Query(Audited { since, limit }) = query?;
    let since = moment::since(&since, host.bus().now()).map_err(Failure::invalid)?;
    Ok(Json(host.audit_list(since, limit.clamp(1, LIST_MAX)).await?))
}
