//! What `/v1/dead` and `/v1/unknown` have in common: the query of a list, and a place in a path.

use bugle_core::ids::Position;
use serde::Deserialize;

use super::failure::Failure;
use crate::api::KeptFilter;

/// The query of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    subscription: Option<String>,
    #[serde(default = "page")]
    limit: usize,
    position: Option<String>,
    r#type: Option<String>,
    key: Option<String>,
    cause: Option<String>,
    since: Option<String>,
    until: Option<String>,
    revision: Option<String>,
    state: Option<String>,
}

/// Rows of a list for a caller that does not say how many.
pub(super) fn page() -> usize {
    100
}

/// The rows carry their events, so a page is kept small.
pub(super) const LIST_MAX: usize = 1000;

impl List {
    /// The subscription, if it is one, the filter, and how many rows at most.
    pub(super) fn parts(self) -> (Option<String>, KeptFilter, usize) {
        let List { subscription, limit, position, r#type, key, cause, since, until, revision, state } = self;
        let filter = KeptFilter { position, kind: r#type, key, cause, since, until, revision, state };
        (subscription, filter, limit.clamp(1, LIST_MAX))
    }
}

pub(super) fn place(position: &str) -> Result<Position, Failure> {
    position.parse().map_err(|error: bugle_core::ids::ParsePositionError| Failure::invalid(error.to_string()))
}
