//! `/v1/subscriptions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use bugle_core::code::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Answer, Failure};
use crate::api::{PauseRequest, SimulateRequest, Simulation, SubscriptionView};
use crate::definition::Definition;
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Apply {
    /// Only say what would happen.
    #[serde(default)]
    plan: bool,
    /// The caller knows that old events will be delivered.
    #[serde(default)]
    replay: bool,
}

pub(super) async fn list(State(host): State<Arc<Host>>) -> Answer<Vec<SubscriptionView>> {
    Ok(Json(host.subscriptions().await))
}

pub(super) async fn show(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer<SubscriptionView> {
    found(&host, &name).await
}

pub(super) async fn found(host: &Host, name: &str) -> Answer<SubscriptionView> {
    host.subscription(name).await.map(Json).ok_or_else(|| {
        let message = format!("there is no subscription `{name}`; `bugle subscription list` shows them");
        Failure::new(Code::NotFound, message)
    })
}

pub(super) async fn apply(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    query: Result<Query<Apply>, QueryRejection>,
    body: Result<Json<Definition>, JsonRejection>,
) -> Result<Response, Failure> {
    let Query(Apply { plan, replay }) = query?;
    let Json(definition) = body?;
    if definition.name != name {
        let message = format!("the path names `{name}` and the definition `{}`", definition.name);
        return Err(Failure::invalid(message));
    }
    let planned = host.plan(&definition).await?;
    if plan {
        return Ok(Json(planned).into_response());
    }
    if planned.action == "create" && planned.events > 0 && !replay {
        let message = format!(
            "`{name}` would start with {} stored events; confirm with `replay=true`, or start at `latest`",
            planned.events
        );
        return Err(Failure::new(Code::Conflict, message));
    }
    host.apply(definition).await?;
    Ok(found(&host, &name).await?.into_response())
}

pub(super) async fn pause(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    body: Result<Json<PauseRequest>, JsonRejection>,
) -> Answer<SubscriptionView> {
    let Json(PauseRequest { reason }) = body?;
    host.pause(&name, reason).await?;
    found(&host, &name).await
}

pub(super) async fn resume(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer<SubscriptionView> {
    host.resume(&name).await?;
    found(&host, &name).await
}

/// Reads only, although a body comes with it.
pub(super) async fn simulate(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    body: Result<Json<SimulateRequest>, JsonRejection>,
) -> Answer<Simulation> {
    let Json(request) = body?;
    Ok(Json(host.simulate(&name, request).await?))
}

pub(super) async fn remove(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer<Value> {
    host.remove(&name).await?;
    Ok(Json(json!({ "deleted": name })))
}
