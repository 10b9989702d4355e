//! What a person decides about dead letters, on its way to the machine; and what is said of keys that wait.
//!
//! Invariant: whoever decides holds the port's `letters` until that is durable, so nobody acts on a letter that is being changed.

use bugle_core::ids::Position;
use bugle_core::step::Stuck;
use bugle_core::subscription::Input;

use super::Worker;
use super::inbox::Decide;

impl Worker {
    pub(super) fn decide(&mut self, decide: Decide) {
        let Decide { letters, mut also, decided, done } = decide;
        let now = self.now;
        let mut answers = Vec::with_capacity(letters.len());
        for (letter, decision) in letters {
            answers.push(self.machine.decide(now, letter, decision, &mut self.step));
        }
        if answers.iter().any(Result::is_ok) {
            self.step.writes.append(&mut also);
        }
        // Whoever asked may be gone; what was decided stands.
        let _ = decided.send(answers);
        self.after.replies.push(done);
        self.handle(Input::Tick);
    }

    pub(super) fn stuck(&self, position: Position, how: Stuck) {
        let subscription = &self.port.name;
        match how {
            Stuck::Blocked => {
                tracing::warn!(%subscription, %position, "a delivery used up its attempts and blocks its key; it is tried on at the longest backoff");
            }
            Stuck::Parked => {
                tracing::warn!(%subscription, %position, "a delivery was given up and its key waits; replay or dismiss its dead letter");
            }
        }
    }
}
