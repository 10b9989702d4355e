//! `/v1/status` and `/health`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bugle_core::code::Code;
use serde_json::{Value, json};

use super::failure::{Answer, Failure};
use crate::api::StatusView;
use crate::host::Host;

/// Whether the host serves: for load balancers and supervisors.
pub(super) async fn health(State(host): State<Arc<Host>>) -> Answer<Value> {
    if let Some(reason) = host.failure() {
        return Err(Failure::new(Code::StorageFailed, reason));
    }
    if host.is_stopping() {
        return Err(Failure::new(Code::GoingAway, "the host is stopping"));
    }
    Ok(Json(json!({ "status": "ok" })))
}

pub(super) async fn show(State(host): State<Arc<Host>>) -> Answer<StatusView> {
    Ok(Json(host.status().await))
}
