//! `/v1/plugins`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use bugle_core::code::Code;

use super::failure::{Answer, Failure};
use crate::api::PluginView;
use crate::host::Host;

/// Largest component that can be uploaded; a Python plugin has 18 MB.
pub(super) const COMPONENT_BYTES_MAX: usize = 64 << 20;

pub(super) async fn list(State(host): State<Arc<Host>>) -> Answer<Vec<PluginView>> {
    Ok(Json(host.plugins()))
}

pub(super) async fn show(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer<PluginView> {
    let found = host.plugins().into_iter().find(|view| view.name == name);
    found.map(Json).ok_or_else(|| {
        let message = format!("there is no plugin `{name}`; `bugle plugin list` shows them");
        Failure::new(Code::NotFound, message)
    })
}

pub(super) async fn deploy(
    State(host): State<Arc<Host>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<PluginView> {
    let body = body?;
    crate::name::check("plugin", &name).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Json(host.deploy(&name, body).await?))
}
