//! Why an event or a key is not moving: asks the machine of each subscription, and the rows of what it has forgotten.
//!
//! Knows nothing of how the answer is told. Readings, taken while everything runs; nothing here changes anything.

use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Name, Offset, Position, SubscriptionId};
use bugle_core::lane_hash::LaneMark;
use bugle_core::row::{DeadRow, LetGoRow, RecordRow, RecordStatus, UnknownRow};
use bugle_core::subscription::{Answer, Explained, Question, Standing};
use tokio::sync::oneshot;

use super::Bus;
use crate::call::Port;
use crate::reads::ReadError;
use crate::worker::Message;

/// Waiting rows looked at to name the head of a lane: a tenth of a second of reading.
const ROWS_LOOKED_AT_MAX: usize = 100_000;

/// What one subscription says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The subscription.
    pub subscription: Name,
    /// What its machine says; `None` if its worker has broken.
    pub answer: Option<Answer>,
    /// The row that tells how it ended, whatever the machine says of it.
    pub ending: Option<Ending>,
}

/// How a delivery ended, by the row that tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was given up.
    Dead(Box<DeadRow>),
    /// It may have been sent and waits for a decision.
    Unknown(Box<UnknownRow>),
    /// The `expirytime` of its event passed first; the record says so.
    Expired(Box<RecordRow>),
    /// It lies in a run of the log that was let go, so it was not delivered unless that happened before.
    LetGo(LetGoRow),
    /// The host's send record of it: of each delivery if the subscription has records, else of what a degrade rule did.
    Record(Box<RecordRow>),
}

impl Bus {
    /// Asks one subscription or all of them, by name.
    pub async fn explain(&self, question: &Question, only: Option<&str>) -> Result<Vec<Explanation>, ReadError> {
        let mut explanations = Vec::new();
        for port in self.inside.ports() {
            if only.is_none_or(|only| *only == *port.name) {
                explanations.push(self.explain_in(&port, question).await?);
            }
        }
        Ok(explanations)
    }

    async fn explain_in(&self, port: &Arc<Port>, question: &Question) -> Result<Explanation, ReadError> {
        let (reply, answer) = oneshot::channel();
        port.inbox.push(Message::Explain(Box::new(question.clone()), reply));
        let mut answer = answer.await.ok().map(|answer| *answer);
        match (question, &mut answer) {
            (Question::Event(event), Some(Answer::Event(explained))) => {
                let standing = self.on_disk(port.subscription, event.position, &explained.standing).await?;
                explained.standing = standing.unwrap_or_else(|| explained.standing.clone());
            }
            (_, Some(Answer::Lane(Some(lane)))) => {
                let attempts_max = self.inside.spec(&port.name).map_or(0, |spec| spec.retry.attempts_max);
                if let Some(mark) = lane.on_disk {
                    let head = self.head_on_disk(port.subscription, mark).await?;
                    let explained = |standing| Explained { standing, gates: Vec::new(), attempts_max };
                    lane.head = head.map(|(offset, standing)| (offset, explained(standing)));
                }
            }
            (Question::Event(_) | Question::Lane { .. }, _) => {}
        }
        let ending = match (question, &answer) {
            (Question::Event(event), Some(Answer::Event(explained))) if explained.standing.is_over() => {
                let ending = self.ending(port.subscription, event).await?;
                let is_settled = explained.standing == Standing::Settled;
                ending.filter(|ending| is_settled || !matches!(ending, Ending::LetGo(_)))
            }
            (Question::Event(_) | Question::Lane { .. }, _) => None,
        };
        Ok(Explanation { subscription: Arc::clone(&port.name), answer, ending })
    }

    /// What rows say of a delivery that waits on disk only, or behind one that does; none if that has just come back.
    async fn on_disk(
        &self,
        subscription: SubscriptionId,
        position: Position,
        standing: &Standing,
    ) -> Result<Option<Standing>, ReadError> {
        if let Standing::BehindOnDisk { lane } = standing {
            let head = self.head_on_disk(subscription, *lane).await?;
            return Ok(head.map(|(head, row)| Standing::Queued { head, ahead: None, standing: Box::new(row) }));
        }
        if !matches!(standing, Standing::OnDisk { .. }) {
            return Ok(None);
        }
        let store = Arc::clone(&self.inside.shared.store);
        let find = move || store.waiting_at(subscription, position.offset);
        Ok(self.inside.shared.blocking.run(find).await?.as_ref().map(Standing::of_row))
    }

    /// The waiting row of a lane, among the oldest ones.
    async fn head_on_disk(
        &self,
        subscription: SubscriptionId,
        lane: LaneMark,
    ) -> Result<Option<(Offset, Standing)>, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let find = move || {
            for row in store.waiting(subscription).take(ROWS_LOOKED_AT_MAX) {
                let (offset, row) = row?;
                if row.lane == lane {
                    return Ok(Some((offset, Standing::of_row(&row))));
                }
            }
            Ok::<_, bugle_store::ReadError>(None)
        };
        Ok(self.inside.shared.blocking.run(find).await?)
    }

    async fn ending(&self, subscription: SubscriptionId, event: &StoredEvent) -> Result<Option<Ending>, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let event = event.clone();
        let find = move || {
            let position = event.position;
            let record = store.record_of_delivery(subscription, &event)?.map(Box::new);
            if record.as_ref().is_some_and(|row| row.status == RecordStatus::Expired) {
                return Ok(record.map(Ending::Expired));
            }
            // One that was tried again in its place may be in doubt since, and keeps its letter.
            if let Some(row) = store.unknown_at(subscription, position)? {
                return Ok(Some(Ending::Unknown(Box::new(row))));
            }
            if let Some(row) = store.dead_at(subscription, position)? {
                return Ok(Some(Ending::Dead(Box::new(row))));
            }
            let is_in = |row: &LetGoRow| row.from <= position.offset && position.offset < row.to;
            let run = store.let_go(subscription)?.into_iter().rev().find(is_in);
            Ok::<_, bugle_store::ReadError>(match (run, record) {
                // It had not ended when the run was let go.
                (Some(run), Some(record)) if record.status.is_open() => Some(Ending::LetGo(run)),
                (Some(run), None) => Some(Ending::LetGo(run)),
                (_, record) => record.map(Ending::Record),
            })
        };
        Ok(self.inside.shared.blocking.run(find).await?)
    }

    /// The event at a place, if the log still has it.
    pub async fn event(&self, position: Position) -> Result<Option<StoredEvent>, ReadError> {
        if let Some(event) = self.inside.shared.ring.event(position.offset).filter(|event| event.position == position) {
            return Ok(Some(event));
        }
        let store = Arc::clone(&self.inside.shared.store);
        Ok(self.inside.shared.blocking.run(move || store.event(position)).await?)
    }
}
