//! `/v1/retentions`, and the retention of a topic.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use bugle_core::code::Code;

use super::failure::{Answer, Failure};
use crate::api::{RetentionView, SetRetention, SetTopic, TopicView};
use crate::host::Host;

pub(super) async fn list(State(host): State<Arc<Host>>) -> Answer<Vec<RetentionView>> {
    Ok(Json(host.retentions()))
}

pub(super) async fn show(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer<RetentionView> {
    let found = host.retentions().into_iter().find(|view| view.name == name);
    let unknown =
        || Failure::new(Code::NotFound, format!("there is no retention `{name}`; `bugle retention list` shows them"));
    found.map(Json).ok_or_else(unknown)
}

pub(super) async fn set(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    body: Result<Json<SetRetention>, JsonRejection>,
) -> Answer<RetentionView> {
    let Json(set) = body?;
    crate::name::check("retention", &name).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Json(host.set_retention(&name, set).await?))
}

pub(super) async fn set_topic(
    State(host): State<Arc<Host>>,
    Path(topic): Path<String>,
    body: Result<Json<SetTopic>, JsonRejection>,
) -> Answer<TopicView> {
    let Json(SetTopic { retention }) = body?;
    Ok(Json(host.set_topic_retention(&topic, &retention).await?))
}
