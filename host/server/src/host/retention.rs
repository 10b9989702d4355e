//! Retentions of the running host: what they are, what they keep, and which topic has which.
//!
//! Knows nothing of how events go. Invariant: a name has one class for ever, and what `retentions` holds is durable.

use bugle_broker::{Definition, Pinned, RetentionError};
use bugle_core::code::Code;
use bugle_core::ids::{Name, Offset, TopicId};
use bugle_core::origin::is_reserved;
use bugle_core::retention::{AGE_MAX, AGE_MIN, CLASSES_MAX, KeepClass, Retention, RetentionProblem, SIZE_MIN};
use bugle_core::step::CatalogKind;
use bugle_store::EpochFigures;

use super::status::position;
use super::{Host, locked};
use crate::api::{KeptView, RetentionView, SetRetention, TopicView};
use crate::catalog::{self, RetentionRow};
use crate::quantity::{Duration, Size};

/// The retention of topics that were given none.
pub(super) const DEFAULT: &str = "default";

/// Why a retention or a topic's was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// The caller: the name.
    #[error("there is no retention `{name}`; there are {known}; make one with `bugle retention set {name} --age 7d`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The caller: the name of the topic.
    #[error("there is no topic `{0}`; make it with `bugle topic create {0}`")]
    UnknownTopic(String),
    /// The caller: a topic of the host.
    #[error("topic `{0}` is the host's own; its events are kept as those of `default`")]
    Reserved(String),
    /// The caller: too many.
    #[error("a host has at most {CLASSES_MAX} retentions, since each has a log of its own; change one of {known}")]
    TooMany {
        /// Those there are.
        known: String,
    },
    /// The caller: the age.
    #[error("an age of {0} cannot be meant; use at least {min} and at most {max}", min = Duration(AGE_MIN), max = Duration(AGE_MAX))]
    Age(Duration),
    /// The caller: the size.
    #[error("a size of {0} cannot be meant; use at least {min}", min = Size(SIZE_MIN))]
    Size(Size),
    /// The caller: what is kept at least.
    #[error("events cannot stay at least {at_least} and at most {age}; say `--at-least` with no more than the age")]
    AtLeast {
        /// What was asked for.
        at_least: Duration,
        /// The age.
        age: Duration,
    },
    /// The broker could not.
    #[error(transparent)]
    Bus(#[from] RetentionError),
}

impl RetainError {
    /// The stable code of what the caller must change.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            RetainError::Unknown { .. } => Code::NotFound,
            RetainError::UnknownTopic(_) => Code::UnknownTopic,
            RetainError::Reserved(_) => Code::Denied,
            RetainError::TooMany { .. } => Code::Quota,
            RetainError::Age(_) | RetainError::Size(_) | RetainError::AtLeast { .. } => Code::Invalid,
            RetainError::Bus(_) => Code::Unavailable,
        }
    }
}

impl Host {
    /// Every retention, that of topics which were given none first.
    #[must_use]
    pub fn retentions(&self) -> Vec<RetentionView> {
        self.bus().retentions().into_iter().map(|(class, rules)| self.retention_view(class, rules)).collect()
    }

    /// Changes a retention or makes one, durably; it counts at once, for what is stored too.
    pub async fn set_retention(&self, name: &str, set: SetRetention) -> Result<RetentionView, RetainError> {
        let _one_at_a_time = self.changes.lock().await;
        let known = self.bus().retentions();
        let class = match self.class_of(name) {
            Some(class) => class,
            None => self.free_class().ok_or_else(|| RetainError::TooMany { known: self.retention_names() })?,
        };
        let before = known.iter().find(|(of, _)| *of == class).map(|(_, rules)| *rules).unwrap_or_default();
        let rules = Retention {
            age: set.age.map_or(before.age, |age| age.0),
            bytes: set.size.map_or(before.bytes, |size| size.0),
            when_done: set.when_done.unwrap_or(before.when_done),
            at_least: set.at_least.map_or(before.at_least, |at_least| at_least.0),
        };
        rules.check().map_err(|problem| match problem {
            RetentionProblem::AgeTooShort | RetentionProblem::AgeTooLong => RetainError::Age(Duration(rules.age)),
            RetentionProblem::SizeTooSmall => RetainError::Size(Size(rules.bytes)),
            RetentionProblem::AtLeastTooLong => {
                RetainError::AtLeast { at_least: Duration(rules.at_least), age: Duration(rules.age) }
            }
        })?;
        let row = RetentionRow {
            class: class.number(),
            age_ms: rules.age.0,
            bytes: rules.bytes,
            when_done: rules.when_done,
            at_least_ms: rules.at_least.0,
        };
        let value = Some(catalog::encode(&row));
        let (age, size, at_least) = (Duration(rules.age), Size(rules.bytes), Duration(rules.at_least));
        let detail = format!("age {age}, size {size}, when done {}, at least {at_least}", rules.when_done);
        let rows = vec![
            Definition { kind: CatalogKind::Retention, key: name.to_owned(), value },
            self.audit("retention.set", name).row(detail),
        ];
        self.bus().set_retention(class, rules, rows).await?;
        locked(&self.retentions).insert(name.to_owned(), row);
        Ok(self.retention_view(class, rules))
    }

    /// Has the events of a topic kept by another retention from now on.
    pub async fn set_topic_retention(&self, topic: &str, retention: &str) -> Result<TopicView, RetainError> {
        let _one_at_a_time = self.changes.lock().await;
        let id = self.bus().topic(topic).ok_or_else(|| RetainError::UnknownTopic(topic.to_owned()))?;
        if is_reserved(&Name::from(topic)) {
            return Err(RetainError::Reserved(topic.to_owned()));
        }
        let class = self.known_class(retention)?;
        let audit = self.audit("topic.set", topic).row(format!("retention {retention}"));
        self.bus()
            .move_topic(id, class, |shelf| {
                let value = Some(catalog::topic_row_on(id, shelf));
                vec![Definition { kind: CatalogKind::Topic, key: topic.to_owned(), value }, audit]
            })
            .await?;
        self.topic(topic).ok_or_else(|| RetainError::UnknownTopic(topic.to_owned()))
    }

    /// The class of a retention that must be there.
    pub(super) fn known_class(&self, name: &str) -> Result<KeepClass, RetainError> {
        let unknown = || RetainError::Unknown { name: name.to_owned(), known: self.retention_names() };
        self.class_of(name).ok_or_else(unknown)
    }

    fn class_of(&self, name: &str) -> Option<KeepClass> {
        match name {
            DEFAULT => Some(KeepClass::DEFAULT),
            _ => locked(&self.retentions).get(name).and_then(|row| KeepClass::new(row.class)),
        }
    }

    /// The name of a class.
    fn name_of(&self, class: KeepClass) -> String {
        let retentions = locked(&self.retentions);
        let found = retentions.iter().find(|(_, row)| row.class == class.number());
        found.map_or_else(|| DEFAULT.to_owned(), |(name, _)| name.clone())
    }

    fn free_class(&self) -> Option<KeepClass> {
        let retentions = locked(&self.retentions);
        let is_free = |class: &KeepClass| {
            *class != KeepClass::DEFAULT && retentions.values().all(|row| row.class != class.number())
        };
        KeepClass::all().find(is_free)
    }

    fn retention_names(&self) -> String {
        let names = self.bus().retentions().into_iter().map(|(class, _)| format!("`{}`", self.name_of(class)));
        names.collect::<Vec<_>>().join(", ")
    }

    fn retention_view(&self, class: KeepClass, rules: Retention) -> RetentionView {
        let topics = self.bus().topics().into_iter().filter(|topic| !is_reserved(&topic.name));
        let of_it = topics.filter(|topic| self.bus().shelf(topic.id).class() == class);
        RetentionView {
            name: self.name_of(class),
            age: Duration(rules.age),
            size: Size(rules.bytes),
            when_done: rules.when_done,
            at_least: Duration(rules.at_least),
            topics: of_it.map(|topic| topic.name.to_string()).collect(),
            kept: self.kept_by(class),
        }
    }

    /// What is kept of the log of each retention.
    #[must_use]
    pub fn kept_logs(&self) -> Vec<KeptView> {
        self.bus().retentions().into_iter().map(|(class, _)| self.kept_by(class)).collect()
    }

    /// What is kept of the log that a topic's events go to.
    pub(super) fn kept_of(&self, topic: TopicId) -> KeptView {
        self.kept_by(self.bus().shelf(topic).class())
    }

    fn kept_by(&self, class: KeepClass) -> KeptView {
        let (epochs, pinned) = (self.bus().epochs_of(class), self.bus().pinned(class));
        let by = pinned.by.and_then(|id| self.bus().subscriptions().into_iter().find(|spec| spec.id == id));
        let total = |epochs: &mut dyn Iterator<Item = &EpochFigures>| epochs.map(|epoch| epoch.bytes).sum();
        let Pinned { allowed_below, .. } = pinned;
        let is_pinned = |epoch: &&EpochFigures| by.is_some() && epoch.first < allowed_below;
        KeptView {
            retention: self.name_of(class),
            from: position(epochs.first().map_or(self.bus().end(), |epoch| epoch.first)),
            bytes: total(&mut epochs.iter()),
            epochs: epochs.len() as u64,
            pinned_bytes: total(&mut epochs.iter().filter(is_pinned)),
            pinned_by: by.map(|spec| spec.name.to_string()),
            oldest: pinned.oldest.map(|at| Duration(self.bus().now().since(at))),
        }
    }

    /// The oldest position of these topics that can still be read, if this one cannot.
    pub(crate) fn not_kept(&self, topics: &[TopicId], offset: Offset) -> Option<String> {
        let oldest = self.bus().oldest_of(topics);
        (offset < oldest).then(|| {
            format!(
                "position {} is not kept any more; the oldest one that is kept is {}: begin there, or at `earliest`",
                position(offset),
                position(oldest)
            )
        })
    }
}
