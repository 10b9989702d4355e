//! `/v1/subscriptions/{name}/drain`, `.../boost` and `.../seek`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};

use super::failure::{Answer, Failure};
use super::subscriptions::found;
use crate::api::{BoostRequest, SeekRequest, SeekView, SubscriptionView};
use crate::definition::Start;
use crate::host::Host;

pub(super) async fn drain(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer<SubscriptionView> {
    host.drain(&name).await?;
    found(&host, &name).await
}

pub(super) async fn boost(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    body: Result<Json<BoostRequest>, JsonRejection>,
) -> Answer<SubscriptionView> {
    let Json(BoostRequest { factor }) = body?;
    host.boost(&name, factor).await?;
    found(&host, &name).await
}

pub(super) async fn seek(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    body: Result<Json<SeekRequest>, JsonRejection>,
) -> Answer<SeekView> {
    let Json(SeekRequest { to, confirm }) = body?;
    let to: Start = to.parse().map_err(|problem: String| Failure::invalid(problem))?;
    Ok(Json(host.seek(&name, to, confirm).await?))
}
