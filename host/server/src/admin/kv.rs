//! `/v1/kv`: entries of any store, by key. Knows nothing of what plugins keep there.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bugle_broker::KvSwap;
use bugle_core::attempt::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use bugle_core::code::Code;
use bugle_core::ids::Name;
use bugle_core::import::Entry;
use serde::Deserialize;

use super::failure::{Answer, Failure};
use crate::api::{EntriesPage, EntryView, Swapped};
use crate::host::Host;
use crate::quantity::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scan {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    #[serde(default = "page")]
    limit: u32,
}

fn page() -> u32 {
    100
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    expect: Option<u64>,
    ttl: Option<Duration>,
}

fn view(key: String, entry: Entry) -> EntryView {
    let (value, value_base64) = match String::from_utf8(entry.value) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
    EntryView { key, value, value_base64, version: entry.version }
}

pub(super) async fn scan(
    State(host): State<Arc<Host>>,
    Path(store): Path<String>,
    query: Result<Query<Scan>, QueryRejection>,
) -> Answer<EntriesPage> {
    let Query(Scan { prefix, after, limit }) = query?;
    let limit = limit.clamp(1, 1000);
    let store = Name::from(store.as_str());
    let (found, after) = host.bus().kv_scan(&store, prefix, after, limit).await?;
    let entries = found.into_iter().map(|(key, entry)| view(key, entry)).collect();
    Ok(Json(EntriesPage { entries, after }))
}

pub(super) async fn read(
    State(host): State<Arc<Host>>,
    Path((store, key)): Path<(String, String)>,
) -> Answer<EntryView> {
    match host.bus().kv_get(&Name::from(store.as_str()), &key)? {
        Some(entry) => Ok(Json(view(key, entry))),
        None => Err(Failure::new(
            Code::NotFound,
            format!("the store `{store}` has no entry `{key}`; `bugle kv scan {store}` lists them"),
        )),
    }
}

pub(super) async fn write(
    State(host): State<Arc<Host>>,
    Path((store, key)): Path<(String, String)>,
    query: Result<Query<Condition>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Swapped> {
    let body = body?;
    let Query(condition) = query?;
    if body.len() > VALUE_BYTES_MAX {
        let message = format!("the value has {} bytes; at most {VALUE_BYTES_MAX} are kept, as of plugins", body.len());
        return Err(Failure::new(Code::TooLarge, message));
    }
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        let message = format!("a key has 1 to {KEY_BYTES_MAX} bytes, not {}", key.len());
        return Err(Failure::invalid(message));
    }
    change(&host, &store, key, Some(body.to_vec()), &condition).await
}

pub(super) async fn remove(
    State(host): State<Arc<Host>>,
    Path((store, key)): Path<(String, String)>,
    query: Result<Query<Condition>, QueryRejection>,
) -> Answer<Swapped> {
    let Query(condition) = query?;
    change(&host, &store, key, None, &condition).await
}

async fn change(
    host: &Host,
    store: &str,
    key: String,
    value: Option<Vec<u8>>,
    condition: &Condition,
) -> Answer<Swapped> {
    crate::name::check("store", store).map_err(|error| Failure::invalid(error.to_string()))?;
    let name = Name::from(store);
    let audit = host.audit(if value.is_some() { "kv.put" } else { "kv.delete" }, &format!("{store} {key}"));
    let also = vec![audit.row(String::new())];
    let expires = condition.ttl.map(|ttl| host.bus().now().after(ttl.0));
    let applied = match condition.expect {
        None => {
            host.bus().kv_put(&name, key, value, expires, also).await?;
            true
        }
        Some(version) => {
            let swap = KvSwap { key, expect: (version > 0).then_some(version), value, expires };
            host.bus().kv_swap(&name, swap, also).await?
        }
    };
    if applied {
        Ok(Json(Swapped { applied }))
    } else {
        let message = "the entry has another version; read it again and repeat";
        Err(Failure::new(Code::Conflict, message))
    }
}
