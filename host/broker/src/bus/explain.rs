//! Why an event or a key is not moving: asks the machine of each subscription, and the rows of what it has forgotten.
//!
//! Knows nothing of how the answer is told. Readings, taken while everything runs; nothing here changes anything.

use std::sync::Arc;

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Name, Position, SubscriptionId};
use bugle_core::row::{DeadRow, LetGoRow, UnknownRow};
use bugle_core::subscription::{Answer, Question, Standing};
use tokio::sync::oneshot;

use super::Bus;
use crate::call::Port;
use crate::reads::ReadError;
use crate::worker::Message;

/// What one subscription says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The subscription.
    pub subscription: Name,
    /// What its machine says; `None` if its worker has broken.
    pub answer: Option<Answer>,
    /// The row of an event that was given up or parked, whatever the machine says of it.
    pub ending: Option<Ending>,
}

/// How a delivery ended that a person may want to take up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was given up.
    Dead(Box<DeadRow>),
    /// It may have been sent and waits for a decision.
    Unknown(Box<UnknownRow>),
    /// It lies in a run of the log that was let go, so it was not delivered unless that happened before.
    LetGo(LetGoRow),
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
        let answer = answer.await.ok().map(|answer| *answer);
        let ending = match (question, &answer) {
            (Question::Event(event), Some(Answer::Event(explained))) if explained.standing.is_over() => {
                let ending = self.ending(port.subscription, event.position).await?;
                let is_settled = explained.standing == Standing::Settled;
                ending.filter(|ending| is_settled || !matches!(ending, Ending::LetGo(_)))
            }
            (Question::Event(_) | Question::Lane { .. }, _) => None,
        };
        Ok(Explanation { subscription: Arc::clone(&port.name), answer, ending })
    }

    async fn ending(&self, subscription: SubscriptionId, position: Position) -> Result<Option<Ending>, ReadError> {
        let store = Arc::clone(&self.inside.shared.store);
        let find = move || {
            if let Some(row) = store.dead_at(subscription, position)? {
                return Ok(Some(Ending::Dead(Box::new(row))));
            }
            if let Some(row) = store.unknown_at(subscription, position)? {
                return Ok(Some(Ending::Unknown(Box::new(row))));
            }
            let is_in = |row: &LetGoRow| row.from <= position.offset && position.offset < row.to;
            let row = store.let_go(subscription)?.into_iter().rev().find(is_in);
            Ok::<_, bugle_store::ReadError>(row.map(Ending::LetGo))
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
