//! Every bound of the protocol, with its reason.
//!
//! Host and client both read them here. The host repeats those a client must obey in `Welcome`, so that a later
//! host may change them; it does not know what a topic's own policy says.
//!
//! The invariant: nothing that arrives from a network is kept without one of these bounds.

/// Longest frame, without its length prefix. Sixteen frames of the size clients aim at; bounds one read buffer.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Longest frame before the session is authenticated: a `Hello` with a long token fits, an attack does not.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Longest event unless its topic says less: a notification carries references, not documents.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Longest value of one attribute, and longest `id`, `source` or `type`: they become keys of rows.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// Longest attribute name. CloudEvents advises 20; names are compared in every filter.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;

/// Most optional and extension attributes of one event; bounds the duplicate check, which is quadratic.
pub const ATTRIBUTES_MAX: usize = 64;

/// Most events in one `Publish` frame: the committer's own cap for one write batch.
pub const BATCH_EVENTS_MAX: usize = 4096;

/// Longest topic name.
pub const TOPIC_BYTES_MAX: usize = 255;

/// Longest producer, group or client name.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest bearer token; signed tokens with a few claims stay well below.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Most protocol versions a `Hello` may list.
pub const VERSIONS_MAX: usize = 16;

/// Publish streams of one session. One saturates a connection; more only keep keys apart when one is blocked.
pub const STREAMS_MAX: u32 = 8;

/// Publish bytes of one session that may wait for a receipt before the host stops reading: about the
/// bytes one commit takes, twice, so that a fast disk never waits for the network.
pub const CREDIT_BYTES: usize = 4 * 1024 * 1024;

/// Longest text that explains a refusal or an error.
pub const DETAIL_BYTES_MAX: usize = 512;
