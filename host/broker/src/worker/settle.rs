//! What the worker does with each message, and how the end of a call reaches the machine.
//!
//! Invariant: effects of a call whose lease has lapsed are dropped, all but the fate of its claims, which nobody else can
//! settle.

use bugle_core::attempt::Settlement;
use bugle_core::delivery::Verdict;
use bugle_core::ledger::{ClaimFate, Ledger, LedgerStep};
use bugle_core::step::Write;
use bugle_core::subscription::Input;

use super::{Effects, Ended, Message, Operator, Worker};

/// Rows that calls may bring into one step while earlier steps are on their way: more ends wait. Two largest transactions.
const STEP_BYTES_MAX: usize = 2 << 20;

impl Worker {
    pub(super) fn handle_messages(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        for message in messages.drain(..) {
            match message {
                Message::Ended(ended) => self.ended(ended),
                Message::Extend { ticket, by, reply } => {
                    let now = self.now;
                    // A caller that is gone needs no answer, here and below.
                    let _ = reply.send(self.machine.extend(now, ticket, by));
                }
                Message::Waiting { ticket, reply } => {
                    let _ = reply.send(self.machine.waiting_behind(ticket));
                }
                Message::Read(page) => self.store_read(page),
                Message::Fetched(tickets, events, erasures) => self.fetched(&tickets, &events, erasures),
                Message::FetchFailed(tickets, reason) => self.fetch_failed(&tickets, &reason),
                Message::Loaded(all) => self.loaded(all),
                Message::ReadFailed(reason) => self.read_failed(&reason),
                Message::Decide(decide) => self.decide(*decide),
                Message::Resolve(resolve) => self.resolving.push(*resolve),
                Message::Late(late) => self.late.push(*late),
                Message::EraseUnknown(rows, done) => {
                    rows.iter().for_each(|row| self.machine.erase_unknown(row, &mut self.step));
                    self.after.replies.push(done);
                }
                Message::Trim { kept, page, is_last, trimmed, done } => {
                    let _ = trimmed.send(self.trim(kept, &page, is_last));
                    self.after.replies.push(done);
                }
                Message::Operator(operator, mut also, reply) => {
                    self.operator(operator);
                    self.step.writes.append(&mut also);
                    self.after.replies.push(reply);
                }
                Message::Status(reply) => {
                    let _ = reply.send((self.machine.status(), self.read_pace()));
                }
                Message::Explain(question, reply) => {
                    let _ = reply.send(Box::new(self.machine.explain(&question)));
                }
                Message::Drain(reply) => self.draining.get_or_insert_default().push(reply),
                Message::Stop => self.is_stopping = true,
            }
        }
        self.messages = messages;
    }

    fn operator(&mut self, operator: Operator) {
        match operator {
            Operator::Pause { by, reason } => self.handle(Input::Pause { by, reason }),
            Operator::Resume => self.handle(Input::Resume),
            Operator::Probe => self.handle(Input::Probe),
            Operator::Reconfigure(spec) => {
                self.plugin = spec.plugin.clone();
                self.payloads.resize(spec.prefetch_bytes);
                self.port.inbox.cover(spec.covered());
                self.port.inbox.set_late_after(spec.late_after);
                self.handle(Input::Reconfigure(*spec));
                // The cap may be another one.
                self.port.inbox.look();
            }
            Operator::Drain => self.handle(Input::Drain),
            Operator::Boost { factor } => {
                let until = self.port.shared.ring.end();
                self.handle(Input::Boost { factor, until });
            }
            Operator::Seek { to } => self.handle(Input::Seek { to }),
            Operator::Cover(topic) => {
                let mut topics = self.port.inbox.covered();
                topics.push(topic);
                self.port.inbox.cover(topics);
                self.handle(Input::Cover(topic));
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        self.calls_out = self.calls_out.saturating_sub(1);
        let must_wait =
            self.step_bytes > STEP_BYTES_MAX || ended.effects.as_ref().is_some_and(|effects| effects.need_ledger());
        if must_wait {
            self.held.push(ended);
        } else {
            self.settle(ended, None);
        }
    }

    /// Hands the end of a call to the machine; with the ledger if its effects need it.
    pub(super) fn settle(&mut self, mut ended: Ended, ledger: Option<&mut Ledger>) -> Option<LedgerStep> {
        let is_live = self.machine.is_live(ended.ticket);
        let mut rows = Vec::new();
        let mut step = None;
        let mut reply = None;
        if let Some(effects) = ended.effects.take() {
            let mut effects = *effects;
            reply = effects.reply.take();
            if is_live {
                if let Some(revision) = effects.revision {
                    self.machine.ran_on(ended.ticket, revision);
                }
                rows.append(&mut effects.records);
            }
            if let Some(ledger) = ledger {
                step = self.settle_ledger(ledger, &mut ended, &mut effects, is_live, &mut rows);
            }
            if is_live && ended.verdict == Verdict::Ack {
                rows.append(&mut effects.writes);
            }
        }
        self.step_bytes += rows.iter().map(cost).sum::<usize>();
        if is_live {
            self.count(&ended);
        } else {
            // What is left are the fates of its claims; the machine drops the rest of a stale end.
            self.step.writes.append(&mut rows);
        }
        if let Some(reply) = reply {
            let settlement = match &ended.verdict {
                _ if !is_live => Settlement::Lapsed,
                Verdict::Conflict => Settlement::Conflict,
                Verdict::Broke(_) => Settlement::Failed,
                Verdict::Ack
                | Verdict::Nack(_)
                | Verdict::Reject(_)
                | Verdict::Defer(_)
                | Verdict::Unknown(_)
                | Verdict::NotStarted(_) => Settlement::Kept,
            };
            self.after.settled.push((reply, settlement));
        }
        self.handle(Input::Finished {
            ticket: ended.ticket,
            event: ended.event,
            verdict: ended.verdict,
            writes: rows,
            hold: ended.hold,
            pause: ended.pause,
        });
        step
    }

    /// The ledger's part: validates kv reads, which can turn the verdict into a conflict, and settles every claim.
    fn settle_ledger(
        &mut self,
        ledger: &mut Ledger,
        ended: &mut Ended,
        effects: &mut Effects,
        is_live: bool,
        rows: &mut Vec<Write>,
    ) -> Option<LedgerStep> {
        let now = self.now;
        let mut last = None;
        if is_live {
            let kv = std::mem::take(&mut effects.kv.kv);
            let store = &self.port.name;
            let stored = |key: &str| self.port.shared.stored_kv(store, key);
            match ledger.kv_commit(now, store, &effects.kv.reads, kv, stored) {
                Ok(None) => {}
                Ok(Some((writes, step))) => {
                    rows.extend(writes);
                    last = Some(step);
                }
                Err(_conflict) => ended.verdict = Verdict::Conflict,
            }
        }
        let is_acked = is_live && ended.verdict == Verdict::Ack;
        let mut add = |settled: Option<(Write, LedgerStep)>| {
            if let Some((write, step)) = settled {
                rows.push(write);
                last = Some(step);
            }
        };
        for claim in effects.confirms.drain(..) {
            // A claim that is not open any more was settled by an import whose answer the guest never got.
            if is_acked {
                add(ledger.confirm(now, claim, None).ok());
            } else {
                add(ledger.release(now, claim, ClaimFate::Uncertain).unwrap_or(None));
            }
        }
        for end in effects.releases.drain(..) {
            add(ledger.release(now, end.claim, end.fate).unwrap_or(None));
        }
        if effects.has_stray_claim {
            for claim in ledger.open_claims(ended.ticket) {
                add(ledger.release(now, claim, ClaimFate::Unsent).unwrap_or(None));
            }
        }
        last
    }

    fn count(&mut self, ended: &Ended) {
        let counters = &self.port.counters;
        match &ended.verdict {
            Verdict::Ack => {
                counters.acked.add(1);
                self.after.acked.push(ended.event.received);
            }
            Verdict::Nack(_) => counters.nacked.add(1),
            Verdict::Reject(_) => counters.rejected.add(1),
            Verdict::Defer(_) => counters.deferred.add(1),
            Verdict::Unknown(_) => counters.unknown.add(1),
            Verdict::Broke(_) => counters.broke.add(1),
            Verdict::Conflict => counters.conflicts.add(1),
            Verdict::NotStarted(_) => counters.not_started.add(1),
        }
    }
}

/// Bytes a row of a call adds to a step, roughly.
fn cost(write: &Write) -> usize {
    const ROW_OVERHEAD_BYTES: usize = 128;
    let bytes = match write {
        Write::Append { event, .. } | Write::Redeliver { event, .. } => event.bytes().len(),
        Write::Outcome { event, .. } => event.attributes.iter().map(|(name, value)| name.len() + value.len()).sum(),
        Write::Kv { row, key, .. } => key.len() + row.as_ref().map_or(0, |row| row.value.len()),
        Write::Record { row, .. } | Write::Note { row, .. } => row.detail.len(),
        Write::Timer { key, event, .. } => key.len() + event.as_ref().map_or(0, |event| event.bytes().len()),
        Write::Claim { key, .. } => key.len(),
        Write::Window { mark, .. } => mark.key.len() + mark.receipt.as_ref().map_or(0, Vec::len),
        Write::Event(_)
        | Write::Erased(_)
        | Write::ProducerSequence { .. }
        | Write::Cursor { .. }
        | Write::Chunk { .. }
        | Write::Waiting { .. }
        | Write::Hold { .. }
        | Write::Dead { .. }
        | Write::DeadGone { .. }
        | Write::DeadTotals { .. }
        | Write::Unknown { .. }
        | Write::UnknownGone { .. }
        | Write::UnknownTotals { .. }
        | Write::RecordGone { .. }
        | Write::LateGone(_)
        | Write::Catalog { .. }
        | Write::IdChunk { .. }
        | Write::IdBlock { .. }
        | Write::WaitingRange { .. }
        | Write::Run { .. }
        | Write::LetGo { .. }
        | Write::Forget { .. }
        | Write::Paused { .. }
        | Write::Scheduled(_)
        | Write::ScheduleEnded { .. }
        | Write::ScheduledTotals { .. }
        | Write::FatesBelow { .. }
        | Write::WindowEnded { .. }
        | Write::ExpiryGone(_)
        | Write::ExpiriesBelow { .. }
        | Write::Channel { .. } => 0,
    };
    ROW_OVERHEAD_BYTES + bytes
}
