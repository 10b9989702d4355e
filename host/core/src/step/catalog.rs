//! Kinds of definitions: the server owns their form, the core only says that they are in the same batch.

/// Kinds of definitions the server keeps in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CatalogKind {
    /// A topic.
    Topic,
    /// A subscription.
    Subscription,
    /// A plugin and its active revision.
    Plugin,
    /// The bytes of a plugin revision.
    Component,
    /// An audit row.
    Audit,
    /// Counters such as the next topic number.
    Counter,
    /// The name of a subscription that was deleted while calls of it may still run, under its number.
    Deleted,
    /// A retention: how long events of the topics that were given it are kept.
    Retention,
}
