//! Where providers call back: HTTP at `/inbound/SUBSCRIPTION` on a listener of its own, and nothing else there.
//!
//! Whoever reaches it may be anybody on the internet, so everything is bounded before it is looked at: connections, heads, bodies, times.
//! Who may say something is the plugin's decision. It is plain HTTP on loopback; a proxy in front ends TLS.
//!
//! Invariant: 200 is answered only for what is durable, and no answer tells more than what to do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bugle_core::code::Code;
use bugle_sandbox::inbound::Callback;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::api;
use crate::host::{Host, InboundError};

/// Where the names of subscriptions follow.
const PREFIX: &str = "/inbound/";
/// Connections at once; more wait to be accepted. Each ends after its first request.
const CONNECTIONS_MAX: usize = 256;
/// From the accept to the end of the head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// From the head to the end of the body.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Lines of a head.
const HEADERS_MAX: usize = 64;
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Bytes of a body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of all bodies at once: the memory that strangers can take.
const BODIES_BYTES_MAX: usize = 16 << 20;
/// What taken callbacks are answered with.
const METHODS: &str = "GET, POST, PUT";

/// Why callbacks are not taken.
#[derive(Debug, thiserror::Error)]
pub enum ListenInboundError {
    /// Not an address of this machine only.
    #[error("callbacks are taken on loopback only, not on `{0}`; put a proxy that ends TLS in front")]
    NotLoopback(SocketAddr),
    /// The address cannot be taken.
    #[error(
        "could not listen on {address} for callbacks; is another host running? give another port as `inbound.listen`"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenInboundError> {
    if !address.ip().is_loopback() {
        return Err(ListenInboundError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ListenInboundError::Bind { address, source })
}

/// Serves until `stop` ends; requests under way are answered.
pub async fn serve(listener: TcpListener, host: Arc<Host>, stop: impl Future<Output = ()> + Send + 'static) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let door = Arc::new(Door { host, bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)) });
    let mut open = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            (stream, place) = accept(&listener, &connections) => {
                open.spawn(connection(stream, place, Arc::clone(&door)));
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// The next connection, once there is a place for it. Cancel safe: what is not returned is not accepted.
async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    /// The system is out of something; asking at once again would only burn the processor.
    const AFTER_ERROR: Duration = Duration::from_millis(50);
    loop {
        let place = Arc::clone(connections).acquire_owned().await;
        let place = place.expect("the semaphore of connections is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection for callbacks");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

struct Door {
    host: Arc<Host>,
    /// In bytes.
    bodies: Arc<Semaphore>,
}

async fn connection(stream: TcpStream, _place: OwnedSemaphorePermit, door: Arc<Door>) {
    let service = service_fn(|request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, std::convert::Infallible>(door.answer(request).await.unwrap_or_else(refusal)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for callbacks broke");
    }
}

/// Why a callback is answered with something else than 200.
enum Refused {
    NoRoute,
    Method,
    Head,
    TooLarge,
    Slow,
    Broken,
    Full,
    Host(InboundError),
}

type Answer = Response<Full<Bytes>>;

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Refused> {
        // hyper's own bounds are those of its buffers, which have room for some more.
        let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        if request.headers().len() > HEADERS_MAX || request.headers().iter().map(bytes).sum::<usize>() > HEAD_BYTES_MAX
        {
            return Err(Refused::Head);
        }
        let path = request.uri().path().to_owned();
        let rest = path.strip_prefix(PREFIX).ok_or(Refused::NoRoute)?;
        let name = rest.split('/').next().unwrap_or_default().to_owned();
        if ![Method::GET, Method::POST, Method::PUT].contains(request.method()) {
            return Err(Refused::Method);
        }
        // Before a byte of the body is read: who is not there gets nothing done.
        self.host.takes_callbacks(&name).map_err(Refused::Host)?;
        let (head, body) = request.into_parts();
        let body = self.body(&head.headers, body).await?;
        let callback = Callback {
            method: head.method.as_str().to_owned(),
            path,
            query: head.uri.query().map(str::to_owned),
            headers: texts(&head.headers),
            body,
        };
        let received = self.host.callback(&name, callback).await.map_err(Refused::Host)?;
        Ok(answer(StatusCode::OK, &received))
    }

    /// All of the body, if there is room for it and it comes in time.
    async fn body(&self, headers: &HeaderMap, body: Incoming) -> Result<Vec<u8>, Refused> {
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let most = if body.is_end_stream() { 0 } else { told.unwrap_or(BODY_BYTES_MAX) };
        if most > BODY_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let credit = u32::try_from(most).unwrap_or(u32::MAX);
        let _room = self.bodies.try_acquire_many(credit).map_err(|_| Refused::Full)?;
        let read = Limited::new(body, BODY_BYTES_MAX).collect();
        let read = tokio::time::timeout(BODY_WITHIN, read).await.map_err(|_| Refused::Slow)?;
        match read {
            Ok(body) => Ok(body.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
            Err(_) => Err(Refused::Broken),
        }
    }
}

/// Headers as a plugin gets them.
fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_owned);
    headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value.as_bytes())?))).collect()
}

fn answer<T: serde::Serialize>(status: StatusCode, body: &T) -> Answer {
    let body = serde_json::to_vec(body).expect("plain structs always serialise");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn refusal(refused: Refused) -> Answer {
    let (status, code, message, retry) = match &refused {
        Refused::NoRoute => (StatusCode::NOT_FOUND, Code::NotFound, "nothing is here", None),
        Refused::Method => (StatusCode::METHOD_NOT_ALLOWED, Code::Invalid, "this method is not taken here", None),
        Refused::Head => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Code::TooLarge,
            "at most 64 headers and 32 KiB of them are taken here",
            None,
        ),
        Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, "at most 1 MiB is taken here", None),
        Refused::Slow => (StatusCode::REQUEST_TIMEOUT, Code::Expired, "the body took too long", None),
        Refused::Broken => (StatusCode::BAD_REQUEST, Code::Invalid, "the body could not be read", None),
        Refused::Full => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "busy, say it again", Some(1)),
        Refused::Host(error) => of_host(error),
    };
    let mut answer = answer(status, &api::Failure { code: code.text().to_owned(), message: message.to_owned() });
    if let Some(seconds) = retry {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if matches!(refused, Refused::Method) {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    answer
}

fn of_host(error: &InboundError) -> (StatusCode, Code, &'static str, Option<u16>) {
    match error {
        InboundError::NotFound => (StatusCode::NOT_FOUND, Code::NotFound, "nothing is here", None),
        InboundError::Refused => (StatusCode::BAD_REQUEST, Code::Invalid, "this callback was not accepted", None),
        InboundError::Broke => {
            (StatusCode::INTERNAL_SERVER_ERROR, Code::Unavailable, "this callback could not be understood", None)
        }
        InboundError::Busy => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "busy, say it again", Some(1)),
        InboundError::Unknown => {
            (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "a reference is not known yet, say it again", Some(30))
        }
        InboundError::Failed(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "not kept, say it again", Some(5))
        }
    }
}
