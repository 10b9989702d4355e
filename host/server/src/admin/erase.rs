//! `/v1/erase`: the content of a key or a user. Knows nothing of how.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

use super::failure::Answer;
use crate::api::{EraseRequest, EraseView};
use crate::host::Host;

pub(super) async fn erase(
    State(host): State<Arc<Host>>,
    request: Result<Json<EraseRequest>, JsonRejection>,
) -> Answer<EraseView> {
    let Json(request) = request?;
    Ok(Json(host.erase(request).await?))
}
