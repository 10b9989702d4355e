//! The one table of routes: path, method, permission, handler.
//!
//! Invariant: a route exists only through this table, so each one has a permission, and a test walks it.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post, put};

use super::{
    backups, dead, doctor, dump, erase, explain, gate, kv, lookups, metrics, plugins, retention, runs, scheduled,
    status, subscriptions, tail, topics, unknown,
};
use crate::host::Host;

/// Who may call a route. One token stands for all rights today; the distinction is what finer ones will be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Anyone on this machine.
    Open,
    /// Reads: needs the token.
    Read,
    /// Changes something: needs the token.
    Change,
}

struct Route {
    method: &'static str,
    path: &'static str,
    permission: Permission,
    handler: MethodRouter<Arc<Host>>,
}

/// Largest body but for components: a definition with its secrets, or a kv value.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;

/// Takes components, whose bound is its own.
const COMPONENT_PATH: &str = "/v1/plugins/{name}";

#[rustfmt::skip]
fn table() -> Vec<Route> {
    use Permission::{Change, Open, Read};
    let route = |method, path, permission, handler| Route { method, path, permission, handler };
    let component = DefaultBodyLimit::max(plugins::COMPONENT_BYTES_MAX);
    vec![
        route("GET", "/health", Open, get(status::health)),
        route("GET", "/metrics", Open, get(metrics::show)),
        route("GET", "/v1/status", Read, get(status::show)),
        route("GET", "/v1/doctor", Read, get(doctor::show)),
        route("GET", "/v1/topics", Read, get(topics::list)),
        route("POST", "/v1/topics", Change, post(topics::create)),
        route("GET", "/v1/topics/{topic}", Read, get(topics::show)),
        route("PUT", "/v1/topics/{topic}", Change, put(retention::set_topic)),
        route("DELETE", "/v1/topics/{topic}", Change, delete(topics::remove)),
        route("GET", "/v1/retentions", Read, get(retention::list)),
        route("GET", "/v1/retentions/{name}", Read, get(retention::show)),
        route("PUT", "/v1/retentions/{name}", Change, put(retention::set)),
        route("GET", "/v1/topics/{topic}/events", Read, get(tail::events)),
        route("GET", "/v1/topics/{topic}/scheduled", Read, get(scheduled::list)),
        route("POST", "/v1/topics/{topic}/scheduled/cancel", Change, post(scheduled::cancel)),
        route("GET", "/v1/topics/{topic}/ids", Read, get(lookups::id)),
        route("GET", "/v1/subscriptions", Read, get(subscriptions::list)),
        route("PUT", "/v1/subscriptions/{name}", Change, put(subscriptions::apply)),
        route("GET", "/v1/subscriptions/{name}", Read, get(subscriptions::show)),
        route("DELETE", "/v1/subscriptions/{name}", Change, delete(subscriptions::remove)),
        route("POST", "/v1/subscriptions/{name}/pause", Change, post(subscriptions::pause)),
        route("POST", "/v1/subscriptions/{name}/resume", Change, post(subscriptions::resume)),
        route("POST", "/v1/subscriptions/{name}/drain", Change, post(runs::drain)),
        route("POST", "/v1/subscriptions/{name}/boost", Change, post(runs::boost)),
        route("POST", "/v1/subscriptions/{name}/seek", Change, post(runs::seek)),
        route("GET", "/v1/explain", Read, get(explain::explain)),
        route("POST", "/v1/subscriptions/{name}/simulate", Read, post(subscriptions::simulate)),
        route("GET", "/v1/plugins", Read, get(plugins::list)),
        route("PUT", COMPONENT_PATH, Change, put(plugins::deploy).layer(component)),
        route("GET", COMPONENT_PATH, Read, get(plugins::show)),
        route("GET", "/v1/records", Read, get(lookups::records)),
        route("GET", "/v1/records/late", Read, get(lookups::late_records)),
        route("GET", "/v1/dead", Read, get(dead::list)),
        route("GET", "/v1/dead/{subscription}/{position}", Read, get(dead::show)),
        route("PUT", "/v1/dead/{subscription}/{position}", Change, put(dead::edit)),
        route("POST", "/v1/dead/replay/plan", Read, post(dead::plan)),
        route("POST", "/v1/dead/replay", Change, post(dead::replay)),
        route("POST", "/v1/dead/dismiss", Change, post(dead::dismiss)),
        route("POST", "/v1/dead/purge", Change, post(dead::purge)),
        route("GET", "/v1/unknown", Read, get(unknown::list)),
        route("GET", "/v1/unknown/{subscription}/{position}", Read, get(unknown::show)),
        route("POST", "/v1/unknown/resolve", Change, post(unknown::resolve)),
        route("GET", "/v1/audit", Read, get(dead::audit)),
        route("GET", "/v1/kv/{store}", Read, get(kv::scan)),
        route("GET", "/v1/kv/{store}/{*key}", Read, get(kv::read)),
        route("PUT", "/v1/kv/{store}/{*key}", Change, put(kv::write)),
        route("DELETE", "/v1/kv/{store}/{*key}", Change, delete(kv::remove)),
        route("POST", "/v1/backups", Change, post(backups::create)),
        route("POST", "/v1/erase", Change, post(erase::erase)),
        route("GET", "/v1/dump", Read, get(dump::dump)),
    ]
}

/// Method, path and permission of every route.
#[must_use]
pub fn permissions() -> Vec<(&'static str, &'static str, Permission)> {
    let row = |route: Route| (route.method, route.path, route.permission);
    table().into_iter().map(row).collect()
}

/// Every route behind its gate.
pub(super) fn all(host: &Arc<Host>) -> Router<Arc<Host>> {
    let mut router = Router::new();
    for Route { path, permission, handler, .. } in table() {
        let handler = if path == COMPONENT_PATH { handler } else { handler.layer(from_fn(gate::fair_size)) };
        let guarded = match permission {
            Permission::Open => handler,
            Permission::Read | Permission::Change => handler.layer(from_fn_with_state(Arc::clone(host), gate::token)),
        };
        router = router.route(path, guarded);
    }
    router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}
