//! Scheduled events of the running host, as operators see them.
//!
//! Knows nothing of HTTP. Counts are rows of the store, never scans.

use bugle_broker::{CancelError, CancelWhat, ReadError};
use bugle_core::event::StoredEvent;
use bugle_core::ids::TopicId;
use bugle_core::row::{Fate, FateRow, ScheduledTotals};
use bugle_core::schedule::{Cancelled, Due};

use super::Host;
use crate::api::{CancelledView, ScheduledCounts, ScheduledEvent, ScheduledList, ScheduledView};
use crate::moment;

impl Host {
    /// The scheduled events of a topic in numbers; none if the row cannot be read, of which the log tells.
    pub(super) fn scheduled_counts(&self, topic: TopicId) -> ScheduledCounts {
        let totals = self.bus().scheduled_totals(topic).unwrap_or_else(|error| {
            tracing::error!(%error, topic = topic.0, "the numbers of scheduled events could not be read");
            ScheduledTotals::default()
        });
        ScheduledCounts {
            waiting: totals.waiting,
            released: totals.released,
            cancelled: totals.cancelled,
            replaced: totals.replaced,
            expired: totals.expired,
        }
    }

    /// Scheduled events of all topics.
    pub(crate) fn scheduled_waiting(&self) -> u64 {
        self.bus().topics().iter().map(|topic| self.scheduled_counts(topic.id).waiting).sum()
    }

    /// Scheduled events of a topic from a place on, those due first.
    pub async fn scheduled(&self, topic: TopicId, from: Due, limit: usize) -> Result<ScheduledList, ReadError> {
        let page = self.bus().scheduled(topic, from, limit).await?;
        let events = page.events.iter().map(event).collect();
        Ok(ScheduledList { events, next: page.next.map(|due| format!("{}-{}", due.at.0, due.offset)) })
    }

    /// Cancels scheduled events of a topic, with an audit row in the same batch if there were any.
    pub async fn cancel_scheduled(&self, topic: &str, what: CancelWhat) -> Result<CancelledView, CancelError> {
        let target = match &what {
            CancelWhat::Id { source, id } => format!("{topic}: id {id} of {source}"),
            CancelWhat::Key(key) => format!("{topic}: key {key}"),
        };
        let audit = self.audit("scheduled.cancel", &target);
        let also = move |events: u32| vec![audit.row(format!("{events} cancelled"))];
        Ok(view_of(self.bus().cancel_scheduled(topic, what, also).await?))
    }

    /// What became of a scheduled event, and its copy, if there is one.
    pub(super) async fn scheduled_view(
        &self,
        event: &StoredEvent,
    ) -> Result<(ScheduledView, Option<StoredEvent>), ReadError> {
        let due = event.event.timing().deliver_at.unwrap_or_default();
        let mut view = ScheduledView { state: "waiting".into(), due: moment::text(due), ..ScheduledView::default() };
        let Some(row) = self.bus().fate(event.position.offset)? else { return Ok((view, None)) };
        view.ended_at = Some(moment::text(row.at));
        match row.fate {
            Fate::Released { to } => {
                view.state = "released".into();
                view.copy = Some(to.to_string());
                return Ok((view, self.bus().event(to).await?));
            }
            Fate::Cancelled => view.state = "cancelled".into(),
            Fate::Expired => view.state = "expired".into(),
            Fate::Replaced { by } => {
                view.state = "replaced".into();
                view.by = Some(by.to_string());
            }
        }
        Ok((view, None))
    }
}

fn view_of(cancelled: Cancelled) -> CancelledView {
    let ended = |row: FateRow| {
        let (state, place) = match row.fate {
            Fate::Released { to } => ("released", Some(to)),
            Fate::Cancelled => ("cancelled", None),
            Fate::Expired => ("expired", None),
            Fate::Replaced { by } => ("replaced", Some(by)),
        };
        (state, place.map(|place| place.to_string()), moment::text(row.at))
    };
    match cancelled {
        Cancelled::Done { events, is_more } => {
            CancelledView { state: "done".into(), cancelled: events, is_more, ..CancelledView::default() }
        }
        Cancelled::Ended { position, row } => {
            let (state, other, at) = ended(row);
            CancelledView {
                state: format!("already-{state}"),
                position: Some(position.to_string()),
                other,
                ended_at: Some(at),
                ..CancelledView::default()
            }
        }
        Cancelled::NotScheduled { position } => CancelledView {
            state: "not-scheduled".into(),
            position: Some(position.to_string()),
            ..CancelledView::default()
        },
        Cancelled::Unknown => CancelledView { state: "unknown".into(), ..CancelledView::default() },
    }
}

fn event(stored: &StoredEvent) -> ScheduledEvent {
    let event = &stored.event;
    ScheduledEvent {
        position: stored.position.to_string(),
        due: moment::text(event.timing().deliver_at.unwrap_or_default()),
        kind: event.kind().to_owned(),
        source: event.source().to_owned(),
        id: event.id().to_owned(),
        key: event.key().map(str::to_owned),
        received: moment::text(stored.received),
    }
}
