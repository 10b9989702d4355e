//! Deliveries that come back from the disk, now and then twice, and bounds so small that most of them wait there.
//!
//! Invariant: an answer is the row as it is on disk when it is given.

use std::collections::BTreeSet;

use bugle_core::step::{Load, LoadNumber};
use bugle_core::subscription::{Bounds, Input};
use bugle_random::Random;

use crate::world::World;

/// Loads of the machine of now.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// Those that may still be answered; an answer may come twice.
    pub(crate) asked: Vec<Load>,
    /// Those that were: when the machine is resumed it may ask for them once more.
    answered: BTreeSet<LoadNumber>,
}

impl World {
    pub(crate) fn ask_load(&mut self, load: Load) -> Result<(), String> {
        // A seek may have let go of it since.
        if !self.machine.is_loading(load.number) {
            return Ok(());
        }
        let offset = load.position.offset;
        let row = self.disk.waiting.get(&offset);
        // What was let go comes back before its time.
        let is_let_go = self.disk.let_go.iter().any(|row| row.from <= offset && offset < row.to);
        let is_due = row.is_some_and(|row| row.due <= self.now || is_let_go);
        if !is_due && !self.loads.answered.contains(&load.number) {
            return Err(format!("{load:?} was asked for, which has no row or is not due"));
        }
        self.loads.asked.push(load);
        Ok(())
    }

    /// Row and event as they are on disk now.
    pub(crate) fn answer_load(&mut self) -> Result<(), String> {
        let asked = &mut self.loads.asked;
        if asked.is_empty() {
            return Ok(());
        }
        let index = self.random.below(asked.len() as u64) as usize;
        let load = if self.random.chance(20) { asked[index] } else { asked.swap_remove(index) };
        let offset = load.position.offset;
        let found = self.disk.waiting.get(&offset).map(|row| (row.clone(), self.log[offset.0 as usize].clone()));
        self.journal.push(format!("answer {load:?} with {:?}", found.as_ref().map(|(row, _)| row)));
        self.loads.answered.insert(load.number);
        self.handle(Input::Loaded { number: load.number, found })
    }
}

pub(crate) fn bounds(random: &mut Random) -> Bounds {
    if random.chance(30) {
        return Bounds::default();
    }
    Bounds {
        lane_queue_max: random.within(1, 5) as usize,
        queued_max: random.within(4, 40) as usize,
        lanes_max: random.within(2, 20) as usize,
        waiting_max: random.within(0, 10) as usize,
        ready_min: random.within(1, 20) as usize,
        // Two and four lanes for nine keys and classes: collisions all the time.
        lane_hash_bits: *random.pick(&[64, 64, 2, 1]),
    }
}
