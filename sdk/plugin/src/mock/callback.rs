//! A callback of a provider, built for a test.

use crate::raw::receiving::exports::bugle::plugin::inbound as wit;

/// A callback being built; see [`callback`].
#[derive(Debug, Clone)]
pub struct CallbackBuilder {
    inner: wit::Callback,
}

/// A callback with this method and path, which may have a query.
pub fn callback(method: &str, path: &str) -> CallbackBuilder {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    };
    let (headers, body) = (Vec::new(), Vec::new());
    let inner = wit::Callback { method: method.to_owned(), path: path.to_owned(), query, headers, body };
    CallbackBuilder { inner }
}

impl CallbackBuilder {
    /// A header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.inner.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.inner.body = body.as_ref().to_vec();
        self
    }

    pub(super) fn into_inner(self) -> wit::Callback {
        self.inner
    }
}
