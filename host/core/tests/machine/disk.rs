//! The rows of one subscription as a store would hold them, and what they say of each event.
//!
//! Knows nothing of the machine. Invariant it checks: a row never says twice, or in two ways, what became of an event.

use std::collections::{BTreeMap, BTreeSet};

use bugle_core::event::Class;
use bugle_core::ids::{Offset, Position};
use bugle_core::import::NewEvent;
use bugle_core::row::{
    CHUNK_OFFSETS, ChannelRow, CursorChunk, CursorRow, DeadRow, DeadTotals, HoldRow, LetGoRow, LetGoWhy, Parking,
    PausedRow, RunRow, UnknownRow, UnknownState, UnknownTotals, WaitingRow,
};
use bugle_core::step::{CatalogKind, Write};
use bugle_core::subscription::Recovered;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) floor: u64,
    chunks: BTreeMap<u64, CursorChunk>,
    pub(crate) waiting: BTreeMap<Offset, WaitingRow>,
    holds: BTreeMap<(String, Class), HoldRow>,
    paused: Option<PausedRow>,
    run: Option<RunRow>,
    pub(crate) let_go: Vec<LetGoRow>,
    /// Events whose ack brought its row.
    pub(crate) acked: BTreeSet<Offset>,
    pub(crate) dead: BTreeMap<Offset, DeadRow>,
    /// Letters that were there once.
    removed: BTreeSet<Offset>,
    totals: DeadTotals,
    pub(crate) unknown: BTreeMap<Offset, UnknownRow>,
    /// Events that are or were parked as unknown results.
    parked: BTreeSet<Offset>,
    unknown_totals: UnknownTotals,
    channel: Option<ChannelRow>,
    /// Events that a degrade rule settled, and those of them that were handed on.
    suppressed: BTreeSet<Offset>,
    rerouted: BTreeSet<Offset>,
    /// Outcomes that were told as events.
    told: BTreeMap<Offset, u32>,
}

/// The row an ack brings along, so that the disk shows which acks counted.
pub(crate) fn effect(offset: Offset) -> Write {
    Write::Catalog { kind: CatalogKind::Counter, key: format!("acked-{offset}"), value: Some(Vec::new()) }
}

/// The row that the end of a call with a dead ticket brings along: it must never be seen.
pub(crate) fn stale_effect() -> Write {
    Write::Catalog { kind: CatalogKind::Audit, key: "stale".to_owned(), value: Some(Vec::new()) }
}

impl Disk {
    pub(crate) fn apply(&mut self, write: &Write) -> Result<(), String> {
        match write {
            Write::Cursor { row, .. } => {
                if row.floor.0 < self.floor {
                    return Err(format!("the floor fell from {} to {}", self.floor, row.floor));
                }
                self.floor = row.floor.0;
            }
            Write::Chunk { chunk, row: Some(row), .. } => drop(self.chunks.insert(*chunk, row.clone())),
            Write::Chunk { chunk, row: None, .. } => drop(self.chunks.remove(chunk)),
            Write::Waiting { offset, row: Some(row), .. } => drop(self.waiting.insert(*offset, row.clone())),
            Write::Waiting { offset, row: None, .. } => {
                self.waiting.remove(offset).ok_or(format!("deleted the waiting row of {offset}, which has none"))?;
            }
            Write::Hold { key, class, row: Some(row), .. } => drop(self.holds.insert((key.clone(), *class), *row)),
            Write::Hold { key, class, row: None, .. } => {
                self.holds.remove(&(key.clone(), *class)).ok_or(format!("opened lane {key}, which was not held"))?;
            }
            Write::WaitingRange { from, to, .. } => self.waiting.retain(|offset, _| *offset < *from || *offset >= *to),
            Write::Run { row, .. } => self.run = *row,
            Write::LetGo { row, .. } => self.let_go.push(*row),
            Write::Paused { row, .. } => self.paused = row.clone(),
            Write::Channel { row, .. } => self.channel = row.clone(),
            // A replay, as a copy.
            Write::Redeliver { is_late: true, .. } => {}
            Write::Redeliver { origin, .. } => {
                if !self.rerouted.insert(origin.position.offset) {
                    return Err(format!("{} was handed on twice", origin.position));
                }
            }
            Write::Outcome { event, .. } => self.tell(event)?,
            Write::Record { position, row, .. } => {
                self.outcome_is_new(position.offset)?;
                self.suppressed.insert(position.offset);
                if row.detail.contains("handed on") != self.rerouted.contains(&position.offset) {
                    return Err(format!("the record of {position} says otherwise: {}", row.detail));
                }
            }
            Write::Dead { position, row, .. } => {
                let is_decision = |old: &DeadRow| row.decided.is_some() || row.generation > old.generation;
                if !self.dead.get(&position.offset).is_some_and(is_decision) {
                    self.outcome_is_new(position.offset)?;
                }
                self.dead.insert(position.offset, row.clone());
            }
            Write::DeadGone { position, .. } => {
                self.dead
                    .remove(&position.offset)
                    .ok_or(format!("removed the letter of {position}, which has none"))?;
                self.removed.insert(position.offset);
            }
            Write::DeadTotals { row, .. } => self.totals = *row,
            Write::Unknown { position, row, .. } => self.park(position.offset, row)?,
            Write::UnknownGone { position, .. } => {
                self.unknown
                    .remove(&position.offset)
                    .ok_or(format!("removed the unknown result of {position}, which has none"))?;
            }
            Write::UnknownTotals { row, .. } => self.unknown_totals = *row,
            Write::Catalog { kind: CatalogKind::Counter, key, .. } => {
                let offset = key.trim_start_matches("acked-").parse().map_err(|_| format!("odd row {key}"))?;
                self.outcome_is_new(Offset(offset))?;
                self.acked.insert(Offset(offset));
            }
            other => return Err(format!("a row of a call with a dead ticket was written: {other:?}")),
        }
        Ok(())
    }

    fn tell(&mut self, outcome: &NewEvent) -> Result<(), String> {
        let place = outcome.attributes.iter().find(|(name, _)| name == "eventposition");
        let place = place.and_then(|(_, text)| text.parse::<Position>().ok()).ok_or("an outcome of nothing")?;
        *self.told.entry(place.offset).or_default() += 1;
        Ok(())
    }

    fn park(&mut self, offset: Offset, row: &UnknownRow) -> Result<(), String> {
        match self.unknown.insert(offset, row.clone()) {
            None if row.state == UnknownState::Open => self.outcome_is_new(offset)?,
            Some(old) if old.state == UnknownState::Open && row.decided.is_some() => {}
            old => return Err(format!("the unknown result of {offset} went from {old:?} to {row:?}")),
        }
        self.parked.insert(offset);
        Ok(())
    }

    fn outcome_is_new(&self, offset: Offset) -> Result<(), String> {
        if self.has_outcome(offset) { Err(format!("event {offset} was settled twice")) } else { Ok(()) }
    }

    /// Whether a row tells what became of the event.
    pub(crate) fn has_outcome(&self, offset: Offset) -> bool {
        let is_given_up = self.dead.contains_key(&offset) && !self.is_parked_or_released(offset);
        self.acked.contains(&offset)
            || is_given_up
            || self.removed.contains(&offset)
            || self.parked.contains(&offset)
            || self.suppressed.contains(&offset)
    }

    /// Each end is told as one event, and what a person said of an unknown result as one more.
    pub(crate) fn check_told(&self, offset: Offset, tells: bool) -> Result<(), String> {
        let is_resolved = self.unknown.get(&offset).is_some_and(|row| row.decided.is_some());
        let ends = u32::from(self.has_outcome(offset)) + u32::from(is_resolved);
        let told = self.told.get(&offset).copied().unwrap_or_default();
        // Of an unknown result that was removed nobody knows whether it was resolved.
        let is_removed = self.parked.contains(&offset) && !self.unknown.contains_key(&offset);
        match told {
            0 if !tells => Ok(()),
            _ if tells && (told == ends || is_removed && told == ends + 1) => Ok(()),
            // What was let go of leaves its letter as it is, and has not ended.
            _ if tells && told < ends && self.is_let_go(offset) => Ok(()),
            told => Err(format!("{offset} ended {ends} times and that was told {told} times (it tells: {tells})")),
        }
    }

    /// Whether the event waits for a person.
    pub(crate) fn is_parked(&self, offset: Offset) -> bool {
        self.waiting.get(&offset).is_some_and(|row| row.parking == Parking::Parked)
    }

    /// Whether the event waits for a person, or waits again after one decided.
    pub(crate) fn is_parked_or_released(&self, offset: Offset) -> bool {
        self.waiting.get(&offset).is_some_and(|row| row.parking != Parking::Never)
    }

    /// The numbers of the letters are those of the letters.
    pub(crate) fn check_totals(&self) -> Result<(), String> {
        let mut counted = DeadTotals { removed: self.totals.removed, ..DeadTotals::default() };
        for row in self.dead.values() {
            counted.add(row.state, row.cost());
        }
        if counted != self.totals {
            return Err(format!("the letters are {counted:?} and their numbers say {:?}", self.totals));
        }
        let mut counted = UnknownTotals { removed: self.unknown_totals.removed, ..UnknownTotals::default() };
        for row in self.unknown.values() {
            counted.add(row.state, row.cost());
        }
        if counted != self.unknown_totals {
            return Err(format!("unknown are {counted:?} and their numbers say {:?}", self.unknown_totals));
        }
        Ok(())
    }

    /// Whether a row tells that the event was let go of.
    pub(crate) fn is_let_go(&self, offset: Offset) -> bool {
        self.let_go.iter().any(|row| row.from <= offset && offset < row.to)
    }

    /// Whether a seek let go of the event, so that it must never start again.
    pub(crate) fn is_sought_over(&self, offset: Offset) -> bool {
        let sought = self.let_go.iter().filter(|row| row.why == LetGoWhy::Sought);
        sought.into_iter().any(|row| row.from <= offset && offset < row.to)
    }

    /// Whether the cursor says that the event is done with.
    pub(crate) fn is_passed(&self, offset: Offset) -> bool {
        let within = offset.0 % CHUNK_OFFSETS;
        let chunk = self.chunks.get(&(offset.0 / CHUNK_OFFSETS));
        offset.0 < self.floor || chunk.is_some_and(|chunk| chunk.0[(within / 64) as usize] >> (within % 64) & 1 == 1)
    }

    /// What a restart finds.
    pub(crate) fn rows(&self) -> Recovered {
        Recovered {
            cursor: CursorRow { floor: Offset(self.floor) },
            chunks: self.chunks.iter().map(|(number, chunk)| (*number, chunk.clone())).collect(),
            waiting: self.waiting.iter().map(|(offset, row)| (*offset, row.clone())).collect(),
            holds: self.holds.iter().map(|((key, class), row)| (key.clone(), *class, *row)).collect(),
            paused: self.paused.clone(),
            channel: self.channel.clone(),
            dead: self.totals,
            unknown: self.unknown_totals,
            run: self.run,
            let_go: self.let_go.last().copied(),
        }
    }
}

/// A row for the journal.
pub(crate) fn brief(write: &Write) -> String {
    match write {
        Write::Chunk { chunk, row, .. } => format!("chunk {chunk} {}", if row.is_some() { "bits" } else { "gone" }),
        Write::Dead { position, row, .. } => format!("dead {position} {} after {}", row.cause, row.attempts),
        Write::Unknown { position, .. } => format!("unknown {position}"),
        other => format!("{other:?}"),
    }
}
