//! Drain, boost and seek of a subscription, and how long its backlog takes.
//!
//! Knows nothing of how a machine does it. Invariant: a seek says how many events it concerns before it is done.

use bugle_broker::{Count, Pace, ReadError, SubscriptionError};
use bugle_core::code::Code;
use bugle_core::ids::{Name, Offset};
use bugle_core::row::{LetGoRow, LetGoWhy};
use bugle_core::step::CatalogKind;
use bugle_core::subscription::{BOOST_MAX, Status};

use super::status::position;
use super::{Host, locked};
use crate::api::{DrainView, LetGoView, SeekView};
use crate::catalog;
use crate::definition::Start;
use crate::moment;

/// Why an operator's wish was not met.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The caller: it does not run.
    #[error("subscription `{name}` is paused by {by} ({reason}); resume it first")]
    Paused {
        /// The subscription.
        name: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The caller: not a factor.
    #[error("a boost by {0} makes no sense; write a factor from 2 to {BOOST_MAX}, or 1 to end a boost")]
    Factor(u32),
    /// The caller: what was there went with its retention.
    #[error("{0}")]
    NotKept(String),
    /// The broker could not.
    #[error(transparent)]
    Bus(#[from] SubscriptionError),
    /// The operator: the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl RunError {
    /// The stable code of what the caller must change.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            RunError::Paused { .. } => Code::Conflict,
            RunError::Factor(_) => Code::Invalid,
            RunError::NotKept(_) => Code::NotFound,
            RunError::Bus(_) => Code::Unavailable,
            RunError::Read(_) => Code::StorageFailed,
        }
    }
}

impl Host {
    /// Reads nothing new, finishes what was read, then pauses; durable when it returns, done later.
    pub async fn drain(&self, name: &str) -> Result<(), RunError> {
        self.must_run(name).await?;
        let also = vec![self.audit("subscription.drain", name).row(String::new())];
        Ok(self.bus().drain(name, also).await?)
    }

    /// Works at a multiple of its concurrency until the backlog of now is worked off.
    pub async fn boost(&self, name: &str, factor: u32) -> Result<(), RunError> {
        if !(1..=BOOST_MAX).contains(&factor) {
            return Err(RunError::Factor(factor));
        }
        self.must_run(name).await?;
        let also = vec![self.audit("subscription.boost", name).row(format!("factor {factor}"))];
        Ok(self.bus().boost(name, factor, also).await?)
    }

    async fn must_run(&self, name: &str) -> Result<(), RunError> {
        let status = self.machine(name).await?;
        match status.and_then(|status| status.paused) {
            None => Ok(()),
            Some(paused) => Err(RunError::Paused { name: name.to_owned(), by: paused.by, reason: paused.reason }),
        }
    }

    async fn machine(&self, name: &str) -> Result<Option<Status>, RunError> {
        let status = self.bus().status(name).await;
        Ok(status.ok_or_else(|| SubscriptionError::NotFound(Name::from(name)))?.machine)
    }

    /// Goes on at another place, or only says what that would do.
    pub async fn seek(&self, name: &str, to: Start, confirm: bool) -> Result<SeekView, RunError> {
        let _one_at_a_time = self.changes.lock().await;
        let floor = self.machine(name).await?.map_or(Offset(0), |status| status.floor);
        let bus = self.bus();
        let spec = bus.subscriptions().into_iter().find(|spec| *spec.name == *name);
        let spec = spec.ok_or_else(|| SubscriptionError::NotFound(Name::from(name)))?;
        let wanted = self.offset_of(to).await?;
        if let (Start::At(_), Some(problem)) = (to, self.not_kept(&spec.covered(), wanted)) {
            return Err(RunError::NotKept(problem));
        }
        let to = wanted.max(bus.floor()).min(bus.end());
        let (direction, count) = if to > floor {
            ("forward", bus.count_between(&spec, floor, to).await?)
        } else if to < floor {
            ("back", bus.count_between(&spec, to, bus.end()).await?)
        } else {
            ("none", Count { events: 0, is_cut: false })
        };
        let is_done = confirm && direction != "none";
        if is_done {
            let detail = format!("{direction} from {} to {}, {} events", position(floor), position(to), count.events);
            bus.seek(name, to, vec![self.audit("subscription.seek", name).row(detail)]).await?;
            self.note_start(name, to).await?;
        }
        Ok(SeekView {
            direction: direction.to_owned(),
            from: position(floor),
            to: position(to),
            events: count.events,
            is_cut: count.is_cut,
            done: is_done,
        })
    }

    /// A seek to before the place it started at moves that place.
    async fn note_start(&self, name: &str, to: Offset) -> Result<(), RunError> {
        let Some(mut row) = locked(&self.definitions).get(name).cloned() else { return Ok(()) };
        if row.started_at.is_some_and(|started_at| started_at > to.0) {
            row.started_at = Some(to.0);
            let value = Some(catalog::encode(&row));
            let written = self.bus().define(CatalogKind::Subscription, name.to_owned(), value, Vec::new()).await;
            written.map_err(SubscriptionError::Stopped)?;
            locked(&self.definitions).insert(name.to_owned(), row);
        }
        Ok(())
    }
}

/// How much is left and how long it takes.
pub(super) fn drain_view(left: u64, pace: Pace) -> DrainView {
    let seconds = pace.over.0 as f64 / 1000.0;
    let per_s = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let (settled_per_s, arriving_per_s) = (per_s(pace.settled), per_s(pace.arrived));
    let net = settled_per_s - arriving_per_s;
    let done_in_s = match left {
        0 => Some(0),
        left if net > 0.0 => Some((left as f64 / net).ceil() as u64),
        _ => None,
    };
    DrainView { left, settled_per_s, arriving_per_s, done_in_s }
}

pub(super) fn let_go_view(row: &LetGoRow) -> LetGoView {
    let why = match row.why {
        LetGoWhy::Expired => "expired",
        LetGoWhy::Sought => "sought",
    };
    LetGoView {
        why: why.to_owned(),
        from: position(row.from),
        to: position(row.to),
        events: row.events,
        total: row.total,
        at: moment::text(row.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bugle_core::time::Millis;

    #[test]
    fn a_backlog_is_done_at_the_pace_at_which_it_shrinks() {
        let pace = |settled, arrived| Pace { over: Millis(60_000), settled, arrived };
        let told = |left, pace| drain_view(left, pace).done_in_s;
        assert_eq!(told(600, pace(600, 0)), Some(60));
        assert_eq!(told(600, pace(600, 300)), Some(120));
        assert_eq!(told(600, pace(300, 300)), None, "it never shrinks");
        assert_eq!(told(600, Pace::default()), None, "nothing is known yet");
        assert_eq!(told(0, pace(300, 300)), Some(0));
        let view = drain_view(600, pace(90, 30));
        assert_eq!((view.settled_per_s, view.arriving_per_s), (1.5, 0.5));
    }
}
