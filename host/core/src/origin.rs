//! Where a copy of an event comes from: the private topic of a subscription, and what its copies carry.
//!
//! Each subscription has a topic of its own for events that come to it a second time: replayed dead letters, and what another
//! subscription handed on to it. Only the host writes there. A copy says whose delivery it continues, so that it goes out under
//! the same idempotency key. Knows nothing of how attributes get into an event's bytes.
//!
//! Invariant: the origin of a copy of a copy is that of the first event, so a chain of replays keeps one key.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::event::StoredEvent;
use crate::ids::{KeyGeneration, Position, SubscriptionId, TopicId};

/// Topics whose names begin so are written by the host alone.
pub const RESERVED_PREFIX: &str = "bugle.";
/// Private topics of subscriptions; the name of the subscription follows.
pub const PRIVATE_PREFIX: &str = "bugle.to.";
/// Outcomes of deliveries are events in this topic.
pub const SETTLED_TOPIC: &str = "bugle.settled";
/// Attribute that carries the number of events in a row that came of each other; the encoder writes it, the loop guard reads it.
pub const HOPS_ATTRIBUTE: &str = "buglehops";
/// Attribute of a copy with the text form of its [`Origin`].
pub const ORIGIN_ATTRIBUTE: &str = "bugleorigin";
/// Attribute of a replayed dead letter, `true`: events of its key that came after it may have been delivered before it.
pub const LATE_ATTRIBUTE: &str = "buglelate";

/// Whether only the host may write to a topic of this name.
#[must_use]
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with(RESERVED_PREFIX)
}

/// The name of a subscription's private topic.
#[must_use]
pub fn private_topic(subscription: &str) -> String {
    format!("{PRIVATE_PREFIX}{subscription}")
}

/// The delivery that a copy continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whose delivery it was.
    pub subscription: SubscriptionId,
    /// The first event.
    pub position: Position,
    /// Grows when a person edits the event before a replay.
    pub generation: KeyGeneration,
    /// The topic of the first event.
    pub topic: TopicId,
    /// A person had it delivered again although it may have been sent.
    pub may_resend: bool,
    /// Copies that were made since nothing followed what was sent, [`LATE_COPIES_MAX`] at most.
    pub late: u8,
}

/// The last part of the text of an origin that may be sent again.
const RESEND: &str = "resend";
/// The same of a copy that was made since nothing followed; how many there were is behind it.
const LATE: &str = "late";

/// Copies of one delivery that are made since its provider never spoke of what was sent. The last one is for a person, whatever the
/// policy: a provider that calls nobody back would have it sent for ever.
pub const LATE_COPIES_MAX: u8 = 3;

impl Origin {
    /// The origin of an event as delivered to a subscription whose private topic is `private`. Only copies in that topic are
    /// believed: anybody can write the attribute.
    #[must_use]
    pub fn of(subscription: SubscriptionId, private: Option<TopicId>, event: &StoredEvent) -> Origin {
        let told = (private == Some(event.topic)).then(|| event.event.attribute(ORIGIN_ATTRIBUTE)).flatten();
        // A scheduled event was delivered to nobody before its copy, yet people know it by its first place.
        let position = event.event.timing().released_from.unwrap_or(event.position);
        let own = Origin {
            subscription,
            position,
            generation: KeyGeneration::default(),
            topic: event.topic,
            may_resend: false,
            late: 0,
        };
        told.and_then(|text| text.parse().ok()).unwrap_or(own)
    }

    /// Whether it was sent so often without a word of its provider that a person has to look at it.
    #[must_use]
    pub fn is_for_a_person(&self) -> bool {
        self.late >= LATE_COPIES_MAX
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.subscription, self.position, self.generation, self.topic)?;
        match (self.may_resend, self.late) {
            (true, _) => write!(f, "/{RESEND}"),
            (false, 0) => Ok(()),
            (false, late) => write!(f, "/{LATE}{late}"),
        }
    }
}

/// Text that is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin looks like `3/0-1234/0/8`: subscription, position, key generation, topic")]
pub struct ParseOriginError;

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(ParseOriginError);
        let (subscription, position, generation, topic) = (next()?, next()?, next()?, next()?);
        let (may_resend, late) = match parts.next() {
            None => (false, 0),
            Some(RESEND) => (true, 0),
            Some(text) => {
                let late = text.strip_prefix(LATE).and_then(|late| late.parse().ok());
                (false, late.filter(|late| (1..=LATE_COPIES_MAX).contains(late)).ok_or(ParseOriginError)?)
            }
        };
        if parts.next().is_some() {
            return Err(ParseOriginError);
        }
        Ok(Origin {
            subscription: SubscriptionId(subscription.parse().map_err(|_| ParseOriginError)?),
            position: position.parse().map_err(|_| ParseOriginError)?,
            generation: KeyGeneration(generation.parse().map_err(|_| ParseOriginError)?),
            topic: TopicId(topic.parse().map_err(|_| ParseOriginError)?),
            may_resend,
            late,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use bytes::Bytes;

    use super::*;
    use crate::event::{Event, Index, Span};
    use crate::ids::{Offset, Slot};
    use crate::time::Timestamp;

    fn at(offset: u64) -> Position {
        Position { slot: Slot(0), offset: Offset(offset) }
    }

    fn origin() -> Origin {
        Origin {
            subscription: SubscriptionId(3),
            position: at(1234),
            generation: KeyGeneration(2),
            topic: TopicId(8),
            may_resend: false,
            late: 0,
        }
    }

    fn stored(topic: u32, origin: &str) -> StoredEvent {
        let plain = Event::new(Bytes::from_static(b"x"), Index::default()).unwrap();
        let name = Span { start: 0, len: ORIGIN_ATTRIBUTE.len() as u32 };
        let value = Span { start: name.len, len: origin.len() as u32 };
        let event = plain.extended(format!("{ORIGIN_ATTRIBUTE}{origin}").as_bytes(), &[(name, value)]);
        StoredEvent { position: at(50), topic: TopicId(topic), received: Timestamp(0), event }
    }

    #[test]
    fn text_goes_there_and_back_and_nothing_else_passes() {
        assert_eq!(origin().to_string(), "3/0-1234/2/8");
        assert_eq!("3/0-1234/2/8".parse(), Ok(origin()));
        let again = Origin { may_resend: true, ..origin() };
        assert_eq!(again.to_string(), "3/0-1234/2/8/resend");
        assert_eq!("3/0-1234/2/8/resend".parse(), Ok(again));
        let late = Origin { late: 3, ..origin() };
        assert_eq!(late.to_string(), "3/0-1234/2/8/late3");
        assert_eq!("3/0-1234/2/8/late3".parse(), Ok(late));
        assert!(late.is_for_a_person() && !Origin { late: 2, ..late }.is_for_a_person());
        for bad in [
            "",
            "3/0-1234/2",
            "3/0-1234/2/8/9",
            "3/0-1234/2/8/resend/",
            "3/0-1234/2/8/late0",
            "3/0-1234/2/8/late4",
            "3/0-1234/2/8/late",
            "3/0-1234/2/8/late2/",
            "3/1234/2/8",
            "x/0-1/0/1",
            "3/0-1/-1/1",
            "3/0-1/0/",
        ] {
            assert_eq!(bad.parse::<Origin>(), Err(ParseOriginError), "{bad}");
        }
    }

    #[test]
    fn only_a_copy_in_the_private_topic_is_believed() {
        let of = |private: Option<u32>, event: &StoredEvent| Origin::of(SubscriptionId(3), private.map(TopicId), event);
        let own = Origin { position: at(50), generation: KeyGeneration(0), topic: TopicId(9), ..origin() };
        assert_eq!(of(Some(9), &stored(9, "3/0-1234/2/8")), origin());
        assert_eq!(of(None, &stored(9, "3/0-1234/2/8")), own);
        assert_eq!(of(Some(7), &stored(9, "3/0-1234/2/8")), own);
        assert_eq!(of(Some(9), &stored(9, "rubbish")), own);
    }

    #[test]
    fn names_of_private_topics_are_reserved() {
        assert_eq!(private_topic("mail"), "bugle.to.mail");
        assert!(is_reserved(&private_topic("mail")) && is_reserved("bugle.settled"));
        assert!(!is_reserved("bugle") && !is_reserved("orders") && !is_reserved("my.bugle.to.mail"));
    }
}
