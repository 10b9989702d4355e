//! What one commit holds and whom it will be told to. Filled before the sync, told after it, in the order: ring, results,
//! completions.

use std::collections::HashMap;
use std::sync::Arc;

use bugle_core::admission::Released;
use bugle_core::event::StoredEvent;
use bugle_core::ids::SessionId;
use bugle_core::ledger::LedgerStep;
use bugle_core::publish::{BatchOutcome, BatchResult, IdState, Opened};
use bugle_core::schedule::Cancelled;
use bugle_core::step::Write;
use tokio::sync::oneshot;

use super::callback::Heard;
use crate::counters::CommitCounters;
use crate::queue::{Committed, Done, ResultSink};
use crate::reads::ReadError;

/// What is told of a cancel.
type CancelAnswer = Result<Cancelled, ReadError>;

/// What is told of a callback: how many records moved.
type CallbackAnswer = Result<u32, ReadError>;

/// Bytes a row that is no event adds, roughly.
const ROW_BYTES: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Round {
    pub(super) writes: Vec<Write>,
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) credit: usize,
    /// The last ledger step in it.
    pub(super) ledger: Option<LedgerStep>,
    pub(super) queries: Vec<(oneshot::Sender<Option<IdState>>, Option<IdState>)>,
    pub(super) opens: Vec<(oneshot::Sender<Opened>, Opened)>,
    pub(super) releases: Vec<(oneshot::Sender<Released>, Released)>,
    pub(super) cancels: Vec<(oneshot::Sender<CancelAnswer>, CancelAnswer)>,
    pub(super) callbacks: Vec<(oneshot::Sender<CallbackAnswer>, CallbackAnswer)>,
    pub(super) heard: Heard,
    results: Results,
    dones: Vec<(Done, Committed)>,
    /// Rows of it that were counted in `events` and `bytes`.
    counted: usize,
}

impl Round {
    /// Counts the rows added since the last call.
    pub(super) fn count(&mut self) {
        for write in self.writes.iter().skip(self.counted) {
            if let Write::Event(stored) = write {
                self.events += 1;
                self.bytes += stored.event.bytes().len();
            }
            self.bytes += ROW_BYTES;
        }
        self.counted = self.writes.len();
    }

    /// Takes the events out, in offset order.
    pub(super) fn take_events(&mut self) -> Vec<StoredEvent> {
        let mut events = Vec::with_capacity(self.events);
        for write in self.writes.drain(..) {
            if let Write::Event(stored) = write {
                events.push(stored);
            }
        }
        events
    }

    pub(super) fn result(&mut self, session: SessionId, sink: Arc<dyn ResultSink>, result: BatchResult) {
        self.results.add(session, sink, result);
    }

    pub(super) fn done(&mut self, done: Done, committed: Committed) {
        if !matches!(done, Done::Nobody) {
            self.dones.push((done, committed));
        }
    }

    /// Tells producers, then workers and callers. The sync has returned.
    pub(super) fn tell(self, counters: &CommitCounters) {
        for (sink, results) in self.results.sessions {
            count(counters, &results);
            sink.deliver(results);
        }
        // Whoever asked may be gone, here and below.
        for (reply, opened) in self.opens {
            let _ = reply.send(opened);
        }
        for (reply, state) in self.queries {
            let _ = reply.send(state);
        }
        for (reply, released) in self.releases {
            let _ = reply.send(released);
        }
        for (reply, cancelled) in self.cancels {
            let _ = reply.send(cancelled);
        }
        for (reply, heard) in self.callbacks {
            let _ = reply.send(heard);
        }
        for (done, committed) in self.dones {
            match done {
                Done::Nobody => {}
                Done::Worker(inbox) => inbox.step_done(),
                Done::Caller(reply) => {
                    let _ = reply.send(committed);
                }
            }
        }
    }
}

fn count(counters: &CommitCounters, results: &[BatchResult]) {
    for result in results {
        match &result.outcome {
            BatchOutcome::Stored { duplicates, refused, .. } => {
                counters.duplicates.add(duplicates.len() as u64);
                counters.refused.add(refused.len() as u64);
            }
            BatchOutcome::Refused(_) => counters.refused.add(1),
        }
    }
}

/// Results by session: one call of each sink per commit.
#[derive(Default)]
struct Results {
    sessions: Vec<(Arc<dyn ResultSink>, Vec<BatchResult>)>,
    index: HashMap<SessionId, usize>,
}

impl Results {
    fn add(&mut self, session: SessionId, sink: Arc<dyn ResultSink>, result: BatchResult) {
        let index = *self.index.entry(session).or_insert_with(|| {
            self.sessions.push((sink, Vec::new()));
            self.sessions.len() - 1
        });
        if let Some((_, results)) = self.sessions.get_mut(index) {
            results.push(result);
        }
    }
}
