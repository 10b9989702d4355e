//! `/v1/topics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use bugle_core::code::Code;

use super::failure::{Answer, Failure};
use crate::api::{NewTopic, TopicView};
use crate::host::Host;

pub(super) async fn list(State(host): State<Arc<Host>>) -> Answer<Vec<TopicView>> {
    Ok(Json(host.topics()))
}

pub(super) async fn show(State(host): State<Arc<Host>>, Path(topic): Path<String>) -> Answer<TopicView> {
    let found = host.topics().into_iter().find(|view| view.name == topic);
    found.map(Json).ok_or_else(|| unknown(&topic))
}

/// Creates; a topic that exists is answered as it is, so that scripts can be run again.
pub(super) async fn create(
    State(host): State<Arc<Host>>,
    body: Result<Json<NewTopic>, JsonRejection>,
) -> Answer<TopicView> {
    let Json(NewTopic { name }) = body?;
    crate::name::check("topic", &name).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Json(host.create_topic(&name).await?))
}

pub(super) fn unknown(topic: &str) -> Failure {
    Failure::new(Code::UnknownTopic, format!("there is no topic `{topic}`; make it with `bugle topic create {topic}`"))
}
