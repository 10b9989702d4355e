//! Every host import a guest can call, as data: what it asks and what it is told.
//!
//! The sandbox converts WIT calls to [`Import`] and [`Reply`] back to WIT; the decision is made by [`crate::attempt`] and
//! [`crate::ledger`]. Calls that decide nothing (`config`, `log`) do not come through here.

use alloc::string::String;
use alloc::vec::Vec;

use crate::code::Code;
use crate::delivery::Retry;
use crate::event::Class;
use crate::ids::ClaimId;
use crate::row::{RecordRow, RecordStatus};
use crate::time::{Millis, Timestamp};

/// How strongly a claim is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Durable before the call returns, so before anything can leave the machine.
    Strong,
    /// In memory until confirmed, then a time window.
    Weak,
}

impl Strength {
    /// How long a done mark is kept when the guest does not say: 30 days strong, 10 minutes weak (the documented defaults).
    #[must_use]
    pub const fn keep_default(self) -> Millis {
        match self {
            Strength::Strong => Millis::from_secs(30 * 24 * 3600),
            Strength::Weak => Millis::from_secs(10 * 60),
        }
    }
}

/// What is known of an outgoing call, by the host's own evidence (guarantees G4c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not one byte of the request left the machine.
    Nothing,
    /// Some of it left and there is no complete response.
    Maybe,
    /// A complete response came back.
    Answered,
}

/// One import call of a live delivery.
#[derive(Clone, Debug)]
pub enum Import {
    /// `ack.ack`: settle as done.
    Ack,
    /// `ack.nack`.
    Nack(Retry),
    /// `ack.reject`.
    Reject(String),
    /// `ack.defer`: until a wall time.
    Defer(Timestamp),
    /// `ack.extend`: more lease.
    Extend(Millis),
    /// `ack.pause-subscription`: the provider said that nothing more should come (HTTP 410).
    PauseSubscription(String),
    /// `dedup.claim`.
    Claim {
        /// Business key, within the claim scope of the subscription.
        key: String,
        /// Strong or weak.
        strength: Strength,
        /// How long the done mark is kept.
        keep: Millis,
    },
    /// `dedup.confirm`: claim done, its receipt and everything buffered since it was opened, in one batch, now.
    Confirm {
        /// The open claim.
        claim: ClaimId,
        /// What to answer to later claims of the same key.
        receipt: Option<Vec<u8>>,
    },
    /// `dedup.release`.
    Release {
        /// The open claim.
        claim: ClaimId,
    },
    /// What the plugin's `reconcile` said of the claim that [`Reply::Ask`] was about.
    Reconciled(Found),
    /// `ordering.waiting`: how many events of the same key wait behind this one.
    Waiting,
    /// `ordering.hold`: keep the lane closed this long after this delivery settled.
    Hold(Millis),
    /// `records.note`.
    Note(Note),
    /// `records.find`.
    FindRecords {
        /// Business key.
        business_key: String,
        /// Recipient; `None` for every one.
        recipient: Option<String>,
    },
    /// `kv.get`.
    KvGet {
        /// Key.
        key: String,
    },
    /// `kv.put`.
    KvPut {
        /// Key.
        key: String,
        /// Value.
        value: Vec<u8>,
        /// Time to live.
        ttl: Option<Millis>,
    },
    /// `kv.swap`: put or delete if the version is as expected.
    KvSwap {
        /// Key.
        key: String,
        /// Version the caller saw; `None` means that the key must not exist.
        expect: Option<u64>,
        /// New value; `None` deletes.
        value: Option<Vec<u8>>,
        /// Time to live.
        ttl: Option<Millis>,
    },
    /// `kv.delete`: no error when the key does not exist.
    KvDelete {
        /// Key.
        key: String,
    },
    /// `kv.add`: a merge applied at commit.
    KvAdd {
        /// Key.
        key: String,
        /// Added to the stored number; a missing key counts as zero.
        delta: i64,
        /// Time to live.
        ttl: Option<Millis>,
    },
    /// `kv.scan`.
    KvScan {
        /// Keys that start with this.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// At most this many.
        limit: u32,
    },
    /// `publish.publish`: follow-up events, stored together with the ack.
    Publish(Vec<NewEvent>),
    /// `timers.set`.
    TimerSet {
        /// Its name.
        name: String,
        /// When it fires.
        at: Timestamp,
        /// What it is given then.
        data: Vec<u8>,
    },
    /// `timers.cancel`.
    TimerCancel {
        /// Its name.
        name: String,
    },
    /// Before an outgoing call (`http`, `mail`): may it go?
    EgressStart,
    /// After it: what the host knows of it.
    EgressEnd(Sent),
}

/// `records.note`: what the guest reports of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Business key, such as `order:7`.
    pub business_key: String,
    /// Recipient, such as `user:42`.
    pub recipient: String,
    /// Status.
    pub status: RecordStatus,
    /// Provider, such as `smtp.example`.
    pub provider: String,
    /// The provider's reference.
    pub provider_reference: String,
    /// Anything else, for people.
    pub detail: String,
}

/// A follow-up event as the guest gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Topic by name.
    pub topic: String,
    /// CloudEvents `type`.
    pub kind: String,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// Ordering key.
    pub key: Option<String>,
    /// CloudEvents `id`; the host makes a stable one if there is none.
    pub id: Option<String>,
    /// Not before this time.
    pub deliver_at: Option<Timestamp>,
    /// No attempt on it from this time on.
    pub expires: Option<Timestamp>,
    /// Priority class.
    pub class: Class,
    /// CloudEvents `datacontenttype`.
    pub content_type: Option<String>,
    /// Extension attributes.
    pub attributes: Vec<(String, String)>,
    /// Payload.
    pub data: Vec<u8>,
}

/// What a plugin found out about an effect that may have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It happened; with what later claims are answered.
    Done(Option<Vec<u8>>),
    /// It surely did not, and will not.
    NotSent,
    /// It cannot be told, or the plugin broke while it was asked; why, for people.
    Unknown(String),
}

/// What a claim call is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The caller may act.
    Claimed {
        /// To confirm or release it with.
        claim: ClaimId,
        /// An earlier holder may already have acted: ask the provider, or follow the policy.
        uncertain: bool,
    },
    /// It was done before; with the stored receipt.
    Done(Option<Vec<u8>>),
    /// Somebody else holds it; try after this long.
    Busy(Millis),
}

/// A kv entry as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Value.
    pub value: Vec<u8>,
    /// Changes with every write of the key.
    pub version: u64,
}

/// A good answer to an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// Time granted by `extend`.
    Granted(Millis),
    /// `claim`.
    Claim(ClaimOutcome),
    /// `claim`, not for the guest: it may have been done before. The plugin is to be asked, and [`Import::Reconciled`] says what it
    /// found; the reply to that is the answer to the claim. Until then only outgoing calls are taken.
    Ask,
    /// `waiting`.
    Count(u32),
    /// `kv.get`.
    Entry(Option<Entry>),
    /// `kv.swap`: whether it was applied.
    Swapped(bool),
    /// `timers.cancel`: whether there was one.
    Cancelled(bool),
    /// `kv.scan`: key and entry, in key order.
    Entries(Vec<(String, Entry)>),
    /// `records.find`.
    Records(Vec<RecordRow>),
    /// `publish`: ids of the events, in order.
    Ids(Vec<String>),
}

/// A refusal of an import call: the guest's mistake or a bound, never a reason to stop the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// Stable code.
    pub code: Code,
    /// What, where, what to do.
    pub message: String,
    /// When another try makes sense.
    pub retry_after: Option<Millis>,
}

/// What the guest is told.
pub type ImportResult = Result<Reply, ImportError>;
