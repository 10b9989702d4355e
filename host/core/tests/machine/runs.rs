//! What an operator does to a subscription at random moments: drain, boost, seek forward, pause, resume; and the log's length for its cap.

use bugle_core::ids::Offset;
use bugle_core::subscription::{Input, LogExtent};

use crate::world::World;

impl World {
    pub(crate) fn drain_or_boost(&mut self) -> Result<(), String> {
        let until = Offset(self.log.len() as u64);
        let input = match self.random.below(3) {
            0 => Input::Drain,
            factor => Input::Boost { factor: factor as u32 + 1, until },
        };
        self.journal.push(format!("{input:?}"));
        self.handle(input)
    }

    /// Forward only: what a seek back delivers again is no breach of any rule, so the rules have nothing to say of it.
    pub(crate) fn seek(&mut self) -> Result<(), String> {
        let floor = self.machine.floor().0;
        let to = Offset(self.random.within(floor, (floor + 10).min(self.log.len() as u64).max(floor)));
        self.journal.push(format!("seek to {to}"));
        self.handle(Input::Seek { to })
    }

    pub(crate) fn tell_log(&mut self) -> Result<(), String> {
        let end = self.log.len() as u64;
        let bytes_from = Offset(if self.random.chance(10) { self.random.within(0, end) } else { 0 });
        let log = LogExtent { end: Offset(end), bytes_from, bytes_from_slack: bytes_from };
        self.journal.push(format!("{log:?}"));
        self.handle(Input::Log(log))
    }

    pub(crate) fn pause_or_resume(&mut self) -> Result<(), String> {
        self.journal.push(format!("pause or resume (paused: {})", self.is_paused));
        if self.is_paused {
            self.handle(Input::Resume)
        } else {
            self.handle(Input::Pause { by: "operator".to_owned(), reason: "lunch".to_owned() })
        }
    }

    pub(crate) fn probe(&mut self) -> Result<(), String> {
        self.journal.push("the cause may be gone".to_owned());
        self.handle(Input::Probe)
    }
}
