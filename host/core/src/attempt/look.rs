//! What an attempt wants to know of the store. Knows nothing of where that is; the driver answers with a [`Fact`].

use alloc::string::String;
use alloc::vec::Vec;

#[cfg(doc)]
use super::Fact;

/// A look-up in the store, laid over by the ledger where that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A kv entry as visible now (`Ledger::kv_visible`): [`Fact::Kv`].
    Kv {
        /// Key.
        key: String,
    },
    /// Committed kv entries, in key order, at most [`SCAN_BYTES_MAX`](super::SCAN_BYTES_MAX) and one entry: [`Fact::KvRows`].
    KvScan {
        /// Keys that start with this.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// At most this many.
        limit: u32,
    },
    /// Send records of the subscription: [`Fact::Records`].
    Records {
        /// Business key.
        business_key: String,
        /// Recipient; `None` for every one.
        recipient: Option<String>,
    },
    /// A timer of the subscription as committed, and how many wait: [`Fact::Timers`].
    Timers {
        /// Its name.
        name: String,
    },
    /// Topic numbers of these names: [`Fact::Topics`].
    Topics(Vec<String>),
}
