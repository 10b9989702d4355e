//! Questions and abandonments that wait for an answer, and are asked again after a reconnect.
//!
//! Sans-IO. It does not know connections; a session asks for what is unsent and tells it the answers.
//!
//! The invariant: memory is bounded by [`REQUESTS_MAX`], and a request whose caller is gone is not asked again.

use bugle_wire::Frame;
use bugle_wire::schema::{Abandon, Abandoned, Query, QueryResult};
use tokio::sync::oneshot;

use crate::queue::Place;

/// Requests waiting at once; a caller that asks for more than this has a bug, not a question.
const REQUESTS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Requests {
    next_number: u64,
    is_ended: bool,
    queries: Vec<Waiting<Query, QueryResult>>,
    abandons: Vec<Waiting<Abandon, ()>>,
}

#[derive(Debug)]
struct Waiting<Q, A> {
    question: Q,
    /// Written only after this batch of its publish stream.
    after_batch: u64,
    written: bool,
    answer: oneshot::Sender<A>,
}

impl Requests {
    /// Asks whether an event was stored; `None` if too many wait or the client ended.
    pub(crate) fn query(&mut self, topic: &str, source: &str, id: &str) -> Option<oneshot::Receiver<QueryResult>> {
        self.queries.retain(|waiting| !waiting.answer.is_closed());
        if self.is_ended || self.queries.len() >= REQUESTS_MAX {
            return None;
        }
        self.next_number += 1;
        let question = Query { request: self.next_number, topic: topic.into(), source: source.into(), id: id.into() };
        let (answer, receiver) = oneshot::channel();
        self.queries.push(Waiting { question, after_batch: 0, written: false, answer });
        Some(receiver)
    }

    /// Gives a refused event up; the answer says that the host has taken it. Written behind what was queued before it, so that
    /// of the same key nothing goes on that was meant to follow the refused event.
    pub(crate) fn abandon(
        &mut self,
        place: Place,
        topic: &str,
        source: &str,
        id: &str,
    ) -> Option<oneshot::Receiver<()>> {
        self.abandons.retain(|waiting| !waiting.answer.is_closed());
        if self.is_ended || self.abandons.len() >= REQUESTS_MAX {
            return None;
        }
        let stream = u32::try_from(place.stream + 1).unwrap_or(u32::MAX);
        let question = Abandon { stream, topic: topic.into(), source: source.into(), id: id.into() };
        let (answer, receiver) = oneshot::channel();
        self.abandons.push(Waiting { question, after_batch: place.after_batch, written: false, answer });
        Some(receiver)
    }

    /// A new session: nothing is written yet.
    pub(crate) fn begin_session(&mut self) {
        self.queries.iter_mut().for_each(|waiting| waiting.written = false);
        self.abandons.iter_mut().for_each(|waiting| waiting.written = false);
    }

    /// The next frame for the control stream.
    pub(crate) fn next_query(&mut self) -> Option<Frame> {
        let waiting = self.queries.iter_mut().find(|waiting| !waiting.written)?;
        waiting.written = true;
        Some(Frame::Query(waiting.question.clone()))
    }

    /// The next abandonment for a publish stream of which every batch up to `written_through` was written.
    pub(crate) fn next_abandon(&mut self, stream: u32, written_through: u64) -> Option<Frame> {
        let is_due = |waiting: &&mut Waiting<Abandon, ()>| {
            !waiting.written && waiting.question.stream == stream && waiting.after_batch <= written_through
        };
        let waiting = self.abandons.iter_mut().find(is_due)?;
        waiting.written = true;
        Some(Frame::Abandon(waiting.question.clone()))
    }

    /// Takes the answer to a question.
    pub(crate) fn answer_query(&mut self, result: QueryResult) {
        let at = self.queries.iter().position(|waiting| waiting.question.request == result.request);
        if let Some(waiting) = at.map(|at| self.queries.swap_remove(at)) {
            // The caller may have stopped waiting.
            let _ = waiting.answer.send(result);
        }
    }

    /// Takes the answer to an abandonment.
    pub(crate) fn answer_abandon(&mut self, answer: &Abandoned) {
        let same = |question: &Abandon| {
            question.stream == answer.stream
                && question.topic == answer.topic
                && question.source == answer.source
                && question.id == answer.id
        };
        let at = self.abandons.iter().position(|waiting| waiting.written && same(&waiting.question));
        if let Some(waiting) = at.map(|at| self.abandons.remove(at)) {
            // The caller may have stopped waiting.
            let _ = waiting.answer.send(());
        }
    }

    /// Drops every question, so that its caller sees that no answer will come, and takes no more.
    pub(crate) fn end(&mut self) {
        self.is_ended = true;
        self.queries.clear();
        self.abandons.clear();
    }
}
