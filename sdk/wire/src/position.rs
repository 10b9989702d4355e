//! Where an event is stored: slot and offset.
//!
//! Written `slot-offset` (`0-1234`) everywhere a person or a text format sees it. It does not know how many slots
//! a host has or whether an offset exists.
//!
//! The invariant: `text.parse::<Position>()` gives back exactly the position that printed `text`, and no other
//! text gives that position (no signs, no spaces, no leading zeros).

use core::fmt;
use core::str::FromStr;

/// Place of an event: its slot and its offset there. Opaque to users except for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Slot that owns the event; an embedded host has only slot 0.
    pub slot: u32,
    /// Offset inside the slot.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.slot, self.offset)
    }
}

/// A text that is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position; expected slot and offset as in `0-1234`")]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (slot, offset) = text.split_once('-').ok_or(ParsePositionError)?;
        if !is_canonical(slot) || !is_canonical(offset) {
            return Err(ParsePositionError);
        }
        Ok(Self {
            slot: slot.parse().map_err(|_| ParsePositionError)?,
            offset: offset.parse().map_err(|_| ParsePositionError)?,
        })
    }
}

fn is_canonical(digits: &str) -> bool {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && (digits == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_as_slot_dash_offset() {
        for (slot, offset) in [(0, 0), (0, 1234), (7, u64::MAX), (u32::MAX, 1)] {
            let position = Position { slot, offset };
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        assert_eq!("0-1234".parse(), Ok(Position { slot: 0, offset: 1234 }));
    }

    #[test]
    fn refuses_every_other_text() {
        for text in ["", "-", "0", "0-", "-1", "0--1", "+0-1", "00-1", "0-01", "0 -1", "4294967296-0", "0-1-2"] {
            assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text}");
        }
    }
}
