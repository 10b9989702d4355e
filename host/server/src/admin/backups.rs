//! `/v1/backups`: a copy of everything, made while the host runs. Knows nothing of how.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

use super::failure::Answer;
use crate::api::{BackupRequest, BackupView};
use crate::host::Host;

pub(super) async fn create(
    State(host): State<Arc<Host>>,
    request: Result<Json<BackupRequest>, JsonRejection>,
) -> Answer<BackupView> {
    let Json(request) = request?;
    Ok(Json(host.back_up(PathBuf::from(request.dir)).await?))
}
