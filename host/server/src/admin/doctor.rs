//! `/v1/doctor`: what is wrong and what to do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::doctor::Diagnosis;
use crate::host::Host;

pub(super) async fn show(State(host): State<Arc<Host>>) -> Json<Diagnosis> {
    Json(host.diagnose().await)
}
