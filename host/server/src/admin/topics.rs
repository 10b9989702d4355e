//! `/v1/topics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use bugle_core::code::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Answer, Failure};
use crate::api::{NewTopic, TopicView};
use crate::host::Host;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// Private topics of subscriptions too.
    #[serde(default)]
    all: bool,
}

pub(super) async fn list(
    State(host): State<Arc<Host>>,
    query: Result<Query<List>, QueryRejection>,
) -> Answer<Vec<TopicView>> {
    let Query(List { all }) = query?;
    Ok(Json(host.topics(all)))
}

pub(super) async fn show(State(host): State<Arc<Host>>, Path(topic): Path<String>) -> Answer<TopicView> {
    let found = host.topics(true).into_iter().find(|view| view.name == topic);
    found.map(Json).ok_or_else(|| unknown(&topic))
}

/// Creates; a topic that exists is answered as it is, so that scripts can be run again.
pub(super) async fn create(
    State(host): State<Arc<Host>>,
    body: Result<Json<NewTopic>, JsonRejection>,
) -> Answer<TopicView> {
    let Json(NewTopic { name, retention }) = body?;
    crate::name::check("topic", &name).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Json(host.create_topic(&name, retention.as_deref()).await?))
}

/// Deletes one that nobody covers.
pub(super) async fn remove(State(host): State<Arc<Host>>, Path(topic): Path<String>) -> Answer<Value> {
    host.delete_topic(&topic).await?;
    Ok(Json(json!({ "deleted": topic })))
}

pub(super) fn unknown(topic: &str) -> Failure {
    Failure::new(Code::UnknownTopic, format!("there is no topic `{topic}`; make it with `bugle topic create {topic}`"))
}
