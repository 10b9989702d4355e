//! The admin API: HTTP on loopback, JSON in and out, behind a token.
//!
//! Handlers translate between HTTP and [`Host`]; none of them decides anything about events. Routes and their permissions are one
//! table, in `routes`.
//!
//! Invariant: only what the table calls open is answered without the token, and nothing to a foreign `Host` header.

mod backups;
mod dead;
mod doctor;
mod dump;
mod erase;
mod explain;
mod failure;
mod gate;
mod kept;
mod kv;
mod lookups;
mod metrics;
mod plugins;
mod retention;
mod routes;
mod runs;
mod scheduled;
mod status;
mod subscriptions;
mod tail;
mod topics;
mod unknown;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;

use crate::host::Host;

pub use routes::{Permission, permissions};

/// Why the admin API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ListenAdminError {
    /// Not an address of this machine only.
    #[error("the admin API is served on loopback only, not on `{0}`; use an ssh tunnel or a proxy")]
    NotLoopback(SocketAddr),
    /// The address cannot be taken.
    #[error(
        "could not listen on {address} for the admin API; is another host running? give another port as `admin.listen`"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenAdminError> {
    if !address.ip().is_loopback() {
        return Err(ListenAdminError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ListenAdminError::Bind { address, source })
}

/// Serves until `stop` ends; requests under way are answered.
pub async fn serve(
    listener: TcpListener,
    host: Arc<Host>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(host)).with_graceful_shutdown(stop).await
}

/// Every route behind its gate.
pub fn router(host: Arc<Host>) -> Router {
    let host_header = axum::middleware::from_fn_with_state(Arc::clone(&host), gate::known_host);
    routes::all(&host)
        .fallback(failure::no_such_route)
        .method_not_allowed_fallback(failure::no_such_method)
        .layer(host_header)
        .with_state(host)
}

#[cfg(test)]
mod tests;
