//! A subscription as the sandbox needs it: the plugin's settings, the operator's grants, its secrets and bounds.
//!
//! Parsing it from files is the server's. It is turned into rights by `grants` and `settings`.

use bugle_core::ids::Name;
use bugle_egress::{Network, OriginPattern};
use std::collections::BTreeMap;

use crate::options::Tighter;
use crate::secret::Secret;
use crate::topic_pattern::TopicPattern;

/// What one subscription gives its plugin.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The subscription.
    pub subscription: Name,
    /// Whether events of one key run in order.
    pub is_ordered: bool,
    /// Calls at once.
    pub concurrency: u32,
    /// The plugin's settings, as the operator wrote them; checked against the manifest.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// The operator's half of the rights.
    pub grants: Grants,
    /// Bounds tighter than the host's.
    pub limits: Tighter,
    /// Attribute that names what an event is about; without it `businesskey` is looked for.
    pub business_key: Option<String>,
    /// What to do about effects that may have happened: `resend`, `ask` or `park`; `None` leaves it to the plugin's manifest.
    pub uncertain: Option<String>,
}

/// What the operator allows. Empty means nothing; the manifest must ask for the same.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Origins that `http` may call (`[grants] egress`). An origin written with an address, or `localhost`, also grants that
    /// address; a name never opens a private network by itself.
    pub egress: Vec<OriginPattern>,
    /// Private networks that names may lead to (`[grants] networks`).
    pub networks: Vec<Network>,
    /// Topics that `publish` may use (`[grants] publish`).
    pub publish: Vec<TopicPattern>,
    /// `[grants] kv`.
    pub kv: bool,
    /// `[grants] pause`.
    pub pause: bool,
    /// `[grants] timers`.
    pub timers: bool,
    /// `[grants] mail`.
    pub mail: bool,
    /// Values by the name in the manifest (`[grants.secrets]`).
    pub secrets: BTreeMap<String, Secret>,
}
