//! A guest's request turned into a checked one: method, URL, headers, size, and the headers that the host adds.
//!
//! Nothing here touches the network. Invariant: no header that frames the message or names its target comes from a guest.

use bytes::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Uri};

use super::{Body, Policy, REQUEST_BODY_BYTES_MAX, Request};
use crate::error::EgressError;
use crate::origin::Origin;

/// Headers of one request, as the plugin contract says.
const HEADERS_MAX: usize = 64;
/// All header bytes; servers refuse more.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Longest URL; servers refuse more.
const URL_BYTES_MAX: usize = 8 << 10;

/// Set by the host, or meant for the next hop only.
const RESERVED: [&str; 13] = [
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "http2-settings",
];

/// A request that may be sent to its origin, if policy allows that.
pub(super) struct Prepared {
    pub(super) origin: Origin,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// Checks everything that can be judged without policy and network.
pub(super) fn prepare(request: Request, policy: &Policy) -> Result<Prepared, EgressError> {
    let invalid = |problem: String| EgressError::Invalid(problem);
    if request.body.len() > REQUEST_BODY_BYTES_MAX {
        return Err(EgressError::TooLarge(format!("the request body is over {REQUEST_BODY_BYTES_MAX} bytes")));
    }
    let method = method(&request.method)?;
    if request.url.len() > URL_BYTES_MAX {
        return Err(EgressError::TooLarge(format!("the URL is over {URL_BYTES_MAX} bytes")));
    }
    let uri: Uri = request.url.parse().map_err(|error| invalid(format!("the URL does not parse: {error}")))?;
    let origin = Origin::of(&uri).map_err(|error| invalid(error.to_string()))?;
    let mut headers = headers(&request.headers)?;
    for (bound, name, value) in &policy.injected {
        if *bound != origin {
            continue;
        }
        if headers.contains_key(name) {
            return Err(EgressError::Denied(format!(
                "denied: header `{name}` is bound to a secret for `{origin}` - do not set it"
            )));
        }
        headers.insert(name.clone(), value.clone());
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("bugle/", env!("CARGO_PKG_VERSION"))));
    Ok(Prepared { origin, method, uri, headers, body: Bytes::from(request.body) })
}

fn method(text: &str) -> Result<Method, EgressError> {
    let invalid = |problem: &str| EgressError::Invalid(format!("method `{}` {problem}", text.escape_debug()));
    if text.is_empty() || text.len() > 32 || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err(EgressError::Invalid("the method must be 1 to 32 upper case letters".to_owned()));
    }
    if matches!(text, "CONNECT" | "TRACE") {
        return Err(invalid("is not served"));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| invalid("is no HTTP method"))
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, EgressError> {
    if given.len() > HEADERS_MAX {
        return Err(EgressError::TooLarge(format!("a request has at most {HEADERS_MAX} headers")));
    }
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(EgressError::TooLarge(format!("the request headers are over {HEADER_BYTES_MAX} bytes")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let shown = name.escape_debug();
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| EgressError::Invalid(format!("`{shown}` is no header name")))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(EgressError::Invalid(format!("header `{name}` is set by the host; leave it out")));
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| EgressError::Invalid(format!("the value of header `{name}` has characters not allowed")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

impl Prepared {
    /// The request in the form of the connection's protocol.
    pub(super) fn request(&self, is_http2: bool) -> hyper::Request<Body> {
        let mut request = hyper::Request::new(Body::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if is_http2 {
            *request.uri_mut() = self.uri.clone();
            return request;
        }
        let path = self.uri.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        if let Some(host) = self.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
            request.headers_mut().insert(HOST, host);
        }
        request
    }
}
