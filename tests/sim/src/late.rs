//! Records that nothing followed in time: the host's look for them, on its way to the machine with the ledger.
//!
//! Holds no decision. A look finds what is on disk while no step of the worker is under way, as the host waits for its last one.
//! Invariant: what may be sent again for it is noted in the evidence.

use bugle_core::callback::Progress;
use bugle_core::event::StoredEvent;
use bugle_core::ledger::LedgerStep;
use bugle_core::origin::Origin;
use bugle_core::row::{ClaimName, Follow, RecordRow};
use bugle_core::spec::OnUnknown;
use bugle_core::step::Write;
use bugle_core::subscription::LateSends;

use crate::bus::Bus;
use crate::call::business_key;
use crate::callback::Notes;
use crate::definition;
use crate::evidence::Place;
use crate::rule::{self, Checked, must};
use crate::worker::Worker;
use crate::world::World;

/// Claims whose records were handed on in one batch, and whose copies it must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandedOn {
    claims: Vec<ClaimName>,
    places: Vec<Place>,
    copies: Vec<Origin>,
}

impl HandedOn {
    /// A record is written over another one.
    pub(crate) fn noted(&mut self, place: Place, before: Option<&RecordRow>, row: &RecordRow) {
        if let (Some(Follow::By { claim, .. }), Follow::HandedOn) = (before.map(|before| &before.follow), &row.follow) {
            self.claims.extend(claim.clone());
            self.places.push(place);
        }
    }

    /// An event is a copy that was made for such a record.
    pub(crate) fn copied(&mut self, origin: Origin) {
        self.copies.push(origin);
    }

    pub(crate) fn take(&mut self) -> HandedOn {
        std::mem::take(self)
    }

    /// After the batch: each has its copy and each copy its record, and none of their claims is done. `is_done` knows the claims,
    /// `origin` the events, `notes` the records.
    pub(crate) fn check(
        &self,
        is_done: impl Fn(&ClaimName) -> bool,
        origin: impl Fn(Place) -> Origin,
        notes: &Notes,
    ) -> Checked {
        for claim in &self.claims {
            must(rule::LATE_GOES_ON, !is_done(claim), || {
                format!("{} was handed on, and its claim is done", claim.key)
            })?;
        }
        let follows = |copy: &Origin, place: Place| {
            let first = origin(place);
            copy.subscription == first.subscription && copy.position == first.position && copy.late == first.late + 1
        };
        for place in &self.places {
            let is_copied = self.copies.iter().any(|copy| follows(copy, *place));
            must(rule::LATE_GOES_ON, is_copied, || format!("{place:?} was handed on without a copy"))?;
        }
        for copy in &self.copies {
            // The provider may have spoken in the same batch; then its word stands.
            let is_over = |row: &RecordRow| row.follow == Follow::HandedOn || row.status.progress() > Progress::Sent;
            let is_told = notes.all().any(|(place, row)| is_over(row) && follows(copy, place));
            must(rule::LATE_GOES_ON, is_told, || format!("copy {copy} came without the record that says so"))?;
        }
        Ok(())
    }
}

impl World {
    /// One look of the host at all that ends by time.
    pub(crate) fn look_at_ends(&mut self) {
        self.sweep();
        self.look_for_late();
    }

    /// The host looks for late records.
    pub(crate) fn look_for_late(&mut self) {
        for worker in &mut self.workers {
            worker.find_late(&self.bus);
        }
    }

    /// Once everything is at rest: nothing that is late was forgotten.
    pub(crate) fn check_late(&self) -> Checked {
        let late = self.bus.disk.synced.notes.late(self.bus.now).next();
        must(rule::LATE_GOES_ON, late.is_none(), || format!("a record is late: {late:?}"))
    }
}

impl Worker {
    fn find_late(&mut self, bus: &Bus) {
        if !self.late.is_empty() || self.has_steps_out() {
            return;
        }
        for (place, row) in bus.disk.synced.notes.late(bus.now) {
            if place.0 == self.spec.id {
                let event = bus.disk.written.log[place.1.0 as usize].clone();
                self.late.push(LateSends { position: event.position, event: Some(event), rows: vec![row.clone()] });
            }
        }
    }

    /// Carries out what the machine decides, with the ledger.
    pub(crate) fn hand_on_late(&mut self, bus: &mut Bus) -> Option<LedgerStep> {
        let mut last = None;
        for late in std::mem::take(&mut self.late) {
            let (event, from) = (late.event.clone(), self.step.writes.len());
            let (written, ledger) = (&bus.disk.written, &mut bus.ledger);
            let stored = |scope: &str, key: &str| written.claim(scope, key);
            last = self.machine.late(bus.now, ledger, late, stored, &mut self.step).max(last);
            let is_copied = self.step.writes[from..].iter().any(|write| matches!(write, Write::Redeliver { .. }));
            if let Some(event) = event.filter(|_| is_copied) {
                bus.note(|| format!("{} goes on with {} in a copy: nothing was heard", self.spec.name, event.position));
                // Whoever is asked first knows that the provider has it.
                if self.spec.on_unknown != OnUnknown::Ask {
                    bus.evidence.tell_to_send((self.spec.id, business_key(&event)));
                }
            }
        }
        last
    }
}

/// The delivery that an event of a place continues.
pub(crate) fn origin_of(log: &[StoredEvent], (subscription, offset): Place) -> Origin {
    let private = definition::private(subscription.0 as usize - 1);
    Origin::of(subscription, Some(private), &log[offset.0 as usize])
}
