//! What the scripted plugins do, import by import: notify, or send under a claim, and count.
//!
//! Invariant: whatever left the machine is noted in the evidence before anything else can happen.

use bugle_core::code::Code;
use bugle_core::delivery::{CallEnd, Failure};
use bugle_core::event::Class;
use bugle_core::import::{ClaimOutcome, Found, Import, NewEvent, Reply, Sent};
use bugle_core::subscription::Machine;
use bugle_core::time::{Millis, Timestamp};

use super::{Answer, COUNTERS, Call, KEEP, POISONED, Stage, business_key, retry};
use crate::bus::Bus;
use crate::callback::note;
use crate::rule::{self, Checked, broken, must};
use crate::store::{ACKED, WEAK};
use crate::timer;

impl Call {
    pub(super) fn notify(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked<CallEnd> {
        if self.event.event.key() == Some(POISONED) {
            return Ok(CallEnd::Trapped("index out of bounds".to_owned()));
        }
        self.expect(bus, machine, Import::EgressStart)?;
        let place = self.place();
        if bus.sick == Some(place.0) {
            self.expect(bus, machine, Import::EgressEnd(Sent::Nothing))?;
            return Ok(retry(None));
        }
        self.expect(bus, machine, Import::EgressEnd(Sent::Answered))?;
        let key = format!("{ACKED}{}", place.1);
        self.expect(bus, machine, Import::KvPut { key, value: Vec::new(), ttl: None })?;
        bus.evidence.notified.push((bus.now, place));
        Ok(CallEnd::Returned(Ok(())))
    }

    /// A truthful provider that now and then cannot be asked; the question itself is no effect, however it goes.
    fn ask_provider(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked {
        self.stage = Stage::Asked;
        self.expect(bus, machine, Import::EgressStart)?;
        let sent = if bus.fault(20) { Sent::Maybe } else { Sent::Answered };
        self.expect(bus, machine, Import::EgressEnd(sent))?;
        let key = self.claim_key();
        let found = match (sent, bus.evidence.has_got(&key)) {
            (Sent::Answered, true) => Found::Done(None),
            (Sent::Answered, false) => Found::NotSent,
            (Sent::Maybe | Sent::Nothing, _) => Found::Unknown("the provider does not answer".to_owned()),
        };
        if !matches!(found, Found::Unknown(_)) {
            bus.evidence.resolve(&key);
        }
        bus.evidence.asked += 1;
        self.reply = self.import(bus, machine, Import::Reconciled(found));
        Ok(())
    }

    pub(super) fn claimed(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked<Option<CallEnd>> {
        match self.reply.take() {
            Some(Ok(Reply::Ask)) => self.ask_provider(bus, machine)?,
            // Some guests do not listen; their word does not count.
            Some(Err(error)) if error.code == Code::Uncertain && bus.random.chance(20) => {
                return Ok(Some(CallEnd::Returned(Ok(()))));
            }
            Some(Err(error)) if error.code == Code::Uncertain => {
                return Ok(Some(CallEnd::Returned(Err(Failure::Unknown(error.message)))));
            }
            Some(Ok(Reply::Claim(ClaimOutcome::Claimed { claim, uncertain }))) => {
                let is_told = uncertain || !bus.evidence.is_in_doubt(&self.claim_key(), bus.now);
                let what = || format!("{} was given the claim of {} as new", self.subscription, self.event.position);
                must(rule::MAYBE_SENT_IS_TOLD, is_told, what)?;
                if uncertain && self.is_for_a_person {
                    self.claim = Some(claim);
                    return Ok(Some(CallEnd::Returned(Err(Failure::Unknown("nothing was ever heard".to_owned())))));
                }
                self.claim = Some(claim);
                self.stage = Stage::Send;
            }
            Some(Ok(Reply::Claim(ClaimOutcome::Done(_)))) => {
                // Once more, as guests do; the provider may have spoken meanwhile.
                self.expect(bus, machine, Import::Note(note(self.place())))?;
                self.stage = Stage::Count;
            }
            Some(Ok(Reply::Claim(ClaimOutcome::Busy(after)))) => return Ok(Some(retry(Some(after)))),
            other => return broken(rule::DRIVER_IS_SOUND, format!("a claim was answered {other:?}")),
        }
        Ok(None)
    }

    /// Key and keep time of the weak claim: some end within the history.
    pub(super) fn weak(&self) -> (String, Millis) {
        let offset = self.event.position.offset;
        (format!("{WEAK}{offset}"), if offset.0.is_multiple_of(2) { KEEP } else { Millis(1_000) })
    }

    /// Counts the event under a weak claim, unless that is remembered as done.
    pub(super) fn remember(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked<Option<CallEnd>> {
        match self.reply.take() {
            Some(Ok(Reply::Claim(ClaimOutcome::Claimed { claim, .. }))) => {
                let (key, _) = self.weak();
                self.expect(bus, machine, Import::KvAdd { key, delta: 1, ttl: None })?;
                self.stage = Stage::Remembered;
                self.reply = self.import(bus, machine, Import::Confirm { claim, receipt: None });
            }
            Some(Ok(Reply::Claim(ClaimOutcome::Done(_)))) => self.stage = Stage::Count,
            Some(Ok(Reply::Claim(ClaimOutcome::Busy(after)))) => return Ok(Some(retry(Some(after)))),
            other => return broken(rule::DRIVER_IS_SOUND, format!("a weak claim was answered {other:?}")),
        }
        Ok(None)
    }

    pub(super) fn send(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked {
        self.expect(bus, machine, Import::EgressStart)?;
        let answer = match bus.random.below(20) {
            _ if bus.is_calm => Answer::Accepted,
            0..14 => Answer::Accepted,
            14..16 => Answer::Refused,
            16 => Answer::NotSent,
            _ => Answer::Lost,
        };
        let place = self.place();
        if answer != Answer::NotSent {
            bus.evidence.doubt(self.claim_key(), bus.now.after(KEEP));
        }
        let has_effect = answer == Answer::Accepted || answer == Answer::Lost && bus.random.chance(50);
        if has_effect {
            let scope = self.attempt.facts().claim_scope.clone();
            let is_done = bus.disk.written.is_done(&scope, &business_key(&self.event), bus.now);
            let what = || format!("{} sent {} although its claim is done", self.subscription, self.event.position);
            must(rule::DONE_IS_DONE, !is_done, what)?;
            let is_explained = bus.evidence.receive(place);
            let what = || format!("{} sent {} again after no fault", self.subscription, self.event.position);
            must(rule::REPEAT_HAS_A_CAUSE, is_explained, what)?;
            let is_new = bus.evidence.got(self.claim_key(), bus.now, KEEP);
            let what = || format!("{} sent {} again, and the provider has it", self.subscription, self.event.position);
            must(rule::ASKED_BEFORE_RESENT, is_new || !self.attempt.facts().asks, what)?;
        }
        self.stage = Stage::Answer(answer);
        Ok(())
    }

    pub(super) fn answered(
        &mut self,
        bus: &mut Bus,
        machine: &mut Machine,
        answer: Answer,
    ) -> Checked<Option<CallEnd>> {
        let sent = match answer {
            Answer::NotSent => Sent::Nothing,
            Answer::Accepted | Answer::Refused => Sent::Answered,
            Answer::Lost => Sent::Maybe,
        };
        self.expect(bus, machine, Import::EgressEnd(sent))?;
        let Some(claim) = self.claim else {
            return broken(rule::DRIVER_IS_SOUND, "nothing is sent without a claim");
        };
        match answer {
            Answer::NotSent | Answer::Refused => {
                bus.evidence.resolve(&self.claim_key());
                self.expect(bus, machine, Import::Release { claim })?;
                Ok(Some(retry(None)))
            }
            // Some guests know what it means that no answer came, others just try again.
            Answer::Lost if bus.random.chance(30) => Ok(Some(retry(None))),
            Answer::Lost => Ok(Some(CallEnd::Returned(Err(Failure::Unknown("no answer".to_owned()))))),
            Answer::Accepted => {
                self.expect(bus, machine, Import::KvAdd { key: "sent".to_owned(), delta: 1, ttl: None })?;
                self.expect(bus, machine, Import::Publish(vec![self.follow_up(bus.now)]))?;
                self.expect(bus, machine, Import::Note(note(self.place())))?;
                self.stage = Stage::Confirming;
                let receipt = Some(self.event.position.offset.to_string().into_bytes());
                self.reply = self.import(bus, machine, Import::Confirm { claim, receipt });
                Ok(None)
            }
        }
    }

    fn follow_up(&self, now: Timestamp) -> NewEvent {
        // The same whenever the call is run again, and now and then late or of no use for long.
        let ahead = Millis(self.event.position.offset.0 % 7 * 400);
        let deliver_at = (ahead > Millis(1_600)).then(|| now.after(ahead));
        NewEvent {
            topic: "sent".to_owned(),
            kind: "sent".to_owned(),
            subject: None,
            key: self.event.event.key().map(str::to_owned),
            id: None,
            deliver_at,
            expires: (self.event.position.offset.0 % 5 == 1).then(|| deliver_at.unwrap_or(now).after(Millis(300))),
            class: Class::Normal,
            content_type: None,
            attributes: Vec::new(),
            data: self.event.position.offset.to_string().into_bytes(),
        }
    }

    /// Reads and writes a counter of the subscription, so that deliveries conflict; and marks the event as acked.
    pub(super) fn count(&mut self, bus: &mut Bus, machine: &mut Machine) -> Checked {
        let counter = COUNTERS[(self.event.position.offset.0 % COUNTERS.len() as u64) as usize];
        let count = match self.import(bus, machine, Import::KvGet { key: counter.to_owned() }) {
            Some(Ok(Reply::Entry(entry))) => {
                entry.and_then(|entry| String::from_utf8(entry.value).ok()?.parse::<u64>().ok()).unwrap_or(0)
            }
            other => return broken(rule::DRIVER_IS_SOUND, format!("a kv read was answered {other:?}")),
        };
        let value = (count + 1).to_string().into_bytes();
        self.expect(bus, machine, Import::KvPut { key: counter.to_owned(), value, ttl: None })?;
        let key = format!("{ACKED}{}", self.event.position.offset);
        self.expect(bus, machine, Import::KvPut { key, value: Vec::new(), ttl: None })?;
        if bus.fault(30) {
            self.keep(bus, machine)?;
        }
        if let Some(import) = timer::of(&self.event, bus.now) {
            self.expect(bus, machine, import)?;
        }
        if bus.fault(8) {
            let time = Millis(bus.random.within(1, 150));
            self.expect(bus, machine, Import::Hold(time))?;
        }
        self.stage = Stage::Return;
        Ok(())
    }
}
