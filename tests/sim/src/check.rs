//! What must be true of the disk, the receipts and the receiver's log: guarantees G1, G3, G4, G5 and G6, in that order.
//!
//! Looks only at evidence from outside the core's machines. Invariant: a check names the event and the rule it broke.

use std::collections::BTreeMap;

use bugle_core::ids::Offset;

use crate::call::{FOLLOW_UPS, business_key};
use crate::world::World;

impl World {
    /// After a restart: the cursor never passed an event of which no row tells what became of it.
    pub(crate) fn check_cursors(&self) -> Result<(), String> {
        for worker in &self.workers {
            for event in self.bus.store.log.iter().filter(|event| worker.spec.topics.contains(&event.topic)) {
                let offset = event.position.offset;
                let is_passed = self.bus.store.is_passed(worker.spec.id, offset);
                let is_settled = worker.is_settled(&self.bus, offset);
                if is_passed != is_settled {
                    let name = &worker.spec.name;
                    return Err(format!(
                        "G1: {name}: cursor passed {offset}: {is_passed}, a row tells of it: {is_settled}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// After everything settled.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        self.check_cursors()?;
        self.check_all_settled()?;
        self.check_producers()?;
        self.check_effects()
    }

    fn check_all_settled(&self) -> Result<(), String> {
        for worker in &self.workers {
            let (store, name) = (&self.bus.store, &worker.spec.name);
            let mut acked = 0;
            for event in store.log.iter().filter(|event| worker.spec.topics.contains(&event.topic)) {
                let offset = event.position.offset;
                let is_acked = store.is_acked(name, offset);
                let is_given_up = store.is_given_up(worker.spec.id, offset);
                if is_acked == is_given_up {
                    return Err(format!("G1: {name}: {offset} is acked: {is_acked}, given up: {is_given_up}"));
                }
                acked += u64::from(is_acked);
            }
            let counted = store.number(name, "count");
            if counted != acked {
                return Err(format!("G4: {name} acked {acked} events and counted {counted} in its kv store"));
            }
        }
        Ok(())
    }

    fn check_producers(&self) -> Result<(), String> {
        for producer in &self.producers {
            let mut places: BTreeMap<u64, Offset> = BTreeMap::new();
            let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
            for event in self.bus.store.log.iter().filter(|event| event.event.source() == producer.name) {
                let number: u64 = event.event.id().parse().map_err(|_| "an id that no producer made")?;
                if places.insert(number, event.position.offset).is_some() {
                    return Err(format!("G3: event {number} of {} is in the log twice", producer.name));
                }
                if let Some(key) = event.event.key()
                    && let Some(before) = latest.insert(key, number)
                    && before > number
                {
                    return Err(format!("G5: {key}: {number} of {} was stored after {before}", producer.name));
                }
            }
            if places != producer.confirmed || places.len() as u64 != producer.made() {
                return Err(format!("G1: {} has receipts that the log does not bear out", producer.name));
            }
        }
        Ok(())
    }

    /// Claim, receipt, counter and follow-up of a send are one.
    fn check_effects(&self) -> Result<(), String> {
        let store = &self.bus.store;
        let mut follow_ups: BTreeMap<&[u8], u32> = BTreeMap::new();
        for event in store.log.iter().filter(|event| event.topic == FOLLOW_UPS) {
            *follow_ups.entry(event.event.data()).or_default() += 1;
        }
        let mut done = 0;
        let send = &self.workers[1].spec;
        for event in store.log.iter().filter(|event| send.topics.contains(&event.topic)) {
            let offset = event.position.offset;
            let is_done = store.is_done(&send.name, &business_key(event));
            let published = follow_ups.get(offset.to_string().as_bytes()).copied().unwrap_or(0);
            if published != u32::from(is_done) {
                return Err(format!("G4: {offset} is done: {is_done}, and has {published} follow-ups"));
            }
            let received = self.bus.received.get(&(send.id, offset)).copied().unwrap_or(0);
            if is_done && received == 0 {
                return Err(format!("G4: {offset} is done and the receiver never saw it"));
            }
            done += u64::from(is_done);
        }
        let counted = store.number(&send.name, "sent");
        if counted == done { Ok(()) } else { Err(format!("G4: {done} claims are done and {counted} were counted")) }
    }
}
