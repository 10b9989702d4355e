//! Timers of scripted plugins: who sets which, and what must hold of them beside what holds of any scheduled event.
//!
//! Events of the orders set and cancel a few names again and again, and a timer that fires is a delivery like any other. Invariant: what a
//! script does depends on the event alone.

use std::collections::BTreeSet;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::import::Import;
use bugle_core::origin::ORIGIN_ATTRIBUTE;
use bugle_core::time::Timestamp;

use crate::rule::{self, Checked, must};
use crate::world::ORDERS;

/// Where private topics begin; their order is that of the subscriptions.
const PRIVATE_MIN: u32 = 10;

/// What the plugin does with its timers when it handles this event.
pub(crate) fn of(event: &StoredEvent, now: Timestamp) -> Option<Import> {
    let offset = event.position.offset.0;
    let name = format!("t-{}", offset % 3);
    match offset % 5 {
        _ if event.topic != ORDERS => None,
        0 | 1 => {
            // Some are due already.
            let at = Timestamp((now.0 + offset % 9 * 100).saturating_sub(100));
            Some(Import::TimerSet { name, at, data: offset.to_string().into_bytes() })
        }
        2 => Some(Import::TimerCancel { name }),
        _ => None,
    }
}

/// Whether an event is a timer as it was set, or its release.
pub(crate) fn is_timer(event: &StoredEvent) -> bool {
    let is_copy = event.event.attribute(ORIGIN_ATTRIBUTE).is_some();
    event.topic.0 >= PRIVATE_MIN && !is_copy && event.event.key().is_some_and(|key| key.starts_with("timer/"))
}

/// What one batch says of timers; empty between two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    set_by: Vec<(SubscriptionId, Offset)>,
    acked: BTreeSet<(SubscriptionId, Offset)>,
}

impl Timers {
    pub(crate) fn acked(&mut self, subscription: SubscriptionId, offset: Offset) {
        self.acked.insert((subscription, offset));
    }

    pub(crate) fn stored(&mut self, event: &StoredEvent) {
        if !is_timer(event) || event.event.timing().released_from.is_some() {
            return;
        }
        let setter = std::str::from_utf8(event.event.data()).ok().and_then(|text| text.parse().ok());
        let subscription = SubscriptionId(event.topic.0 - PRIVATE_MIN + 1);
        self.set_by.extend(setter.map(|offset| (subscription, Offset(offset))));
    }

    pub(crate) fn check(&mut self) -> Checked {
        let acked = std::mem::take(&mut self.acked);
        for place in std::mem::take(&mut self.set_by) {
            must(rule::TIMER_WITH_THE_ACK, acked.contains(&place), || {
                format!("{} set a timer for {} that the batch does not ack", place.1, place.0)
            })?;
        }
        Ok(())
    }
}
