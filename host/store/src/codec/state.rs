//! The state rows of the core as bytes.
//!
//! Knows nothing of what a row means. Invariant: `decode(encode(row)) == row` for every row the core can make.

use bugle_core::event::StoredEvent;
use bugle_core::ids::{Attempt, Offset, Position, Slot};
use bugle_core::row::{
    Boost, ChannelRow, ClaimName, ClaimRow, ClaimState, Culprit, CursorChunk, CursorRow, Follow, HoldRow, IdBlockRow,
    KvRow, LetGoRow, LetGoWhy, OpenRow, PausedRow, RecordRow, RecordStatus, RunRow,
};

use super::{Damaged, Reader, Row, Writer, decode_event, encode_event};

impl Row for CursorRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.floor.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(CursorRow { floor: Offset(from.u64()?) })
    }
}

/// A chunk is mostly words of all ones or all zeros, so two bitmaps tell which and only the others are written out.
impl Row for CursorChunk {
    fn write(&self, out: &mut Writer<'_>) {
        let which = |wanted: u64| {
            self.0.iter().enumerate().filter(|(_, word)| **word == wanted).fold(0, |set, (bit, _)| set | 1 << bit)
        };
        out.u64(which(u64::MAX));
        out.u64(which(0));
        for word in self.0.iter().filter(|word| **word != 0 && **word != u64::MAX) {
            out.u64(*word);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let full: u64 = from.u64()?;
        let empty: u64 = from.u64()?;
        let mut words = Box::new([0_u64; 64]);
        for (bit, word) in words.iter_mut().enumerate() {
            *word = match (full >> bit & 1, empty >> bit & 1) {
                (1, 0) => u64::MAX,
                (0, 1) => 0,
                (0, 0) => from.u64()?,
                _ => return Err(Damaged("a word is both full and empty")),
            };
        }
        Ok(CursorChunk(words))
    }
}

impl Row for ChannelRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.optional(self.open.as_ref(), |out, open| {
            out.u8(culprit_code(open.culprit));
            out.time(open.until);
            out.time(open.since);
            out.text(&open.reason);
        });
        out.u32(self.times);
        out.time(self.since);
        out.u32(self.counting);
        out.u8(u8::from(self.forgives_first));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let open = from.optional(|from| {
            let code = from.u8()?;
            let culprit = Culprit::ALL.into_iter().find(|culprit| culprit_code(*culprit) == code);
            Ok(OpenRow {
                culprit: culprit.ok_or(Damaged("unknown culprit"))?,
                until: from.time()?,
                since: from.time()?,
                reason: from.text()?,
            })
        })?;
        let (times, since, counting) = (from.u32()?, from.time()?, from.u32()?);
        let forgives_first = match from.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Damaged("a mark is neither 0 nor 1")),
        };
        Ok(ChannelRow { open, times, since, counting, forgives_first })
    }
}

/// The stable code of a culprit.
fn culprit_code(culprit: Culprit) -> u8 {
    match culprit {
        Culprit::Channel => 1,
        Culprit::Plugin => 2,
    }
}

impl Row for HoldRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.time(self.until);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(HoldRow { until: from.time()? })
    }
}

impl Row for PausedRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.text(&self.by);
        out.text(&self.reason);
        out.time(self.at);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(PausedRow { by: from.text()?, reason: from.text()?, at: from.time()? })
    }
}

impl Row for RunRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.optional(self.drain_to, |out, offset| out.u64(offset.0));
        out.optional(self.boost, |out, boost| {
            out.u32(boost.factor);
            out.u64(boost.until.0);
        });
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(RunRow {
            drain_to: from.optional(|from| from.u64().map(Offset))?,
            boost: from.optional(|from| Ok(Boost { factor: from.u32()?, until: Offset(from.u64()?) }))?,
        })
    }
}

impl Row for LetGoRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.u8(match self.why {
            LetGoWhy::Expired => 1,
            LetGoWhy::Sought => 2,
        });
        out.time(self.at);
        for number in [self.serial, self.from.0, self.to.0, self.events, self.total] {
            out.u64(number);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let why = match from.u8()? {
            1 => LetGoWhy::Expired,
            2 => LetGoWhy::Sought,
            _ => return Err(Damaged("unknown reason to let go")),
        };
        Ok(LetGoRow {
            why,
            at: from.time()?,
            serial: from.u64()?,
            from: Offset(from.u64()?),
            to: Offset(from.u64()?),
            events: from.u64()?,
            total: from.u64()?,
        })
    }
}

impl Row for ClaimRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.time(self.expires);
        match &self.state {
            ClaimState::Claimed => out.u8(1),
            ClaimState::Uncertain => out.u8(2),
            ClaimState::Done { receipt } => {
                out.u8(3);
                out.optional(receipt.as_deref(), Writer::bytes);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let expires = from.time()?;
        let state = match from.u8()? {
            1 => ClaimState::Claimed,
            2 => ClaimState::Uncertain,
            3 => ClaimState::Done { receipt: from.optional(|from| from.bytes().map(<[u8]>::to_vec))? },
            _ => return Err(Damaged("unknown claim state")),
        };
        Ok(ClaimRow { state, expires })
    }
}

impl Row for KvRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.version);
        out.optional(self.expires, Writer::time);
        out.bytes(&self.value);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let version = from.u64()?;
        let expires = from.optional(Reader::time)?;
        Ok(KvRow { value: from.bytes()?.to_vec(), expires, version })
    }
}

impl Row for RecordRow {
    const VERSION: u8 = 2;

    fn write(&self, out: &mut Writer<'_>) {
        out.u8(status_code(self.status));
        out.u32(self.attempt.0);
        out.time(self.at);
        for text in [
            &self.business_key,
            &self.recipient,
            &self.provider,
            &self.provider_reference,
            &self.detail,
            &self.event_id,
        ] {
            out.text(text);
        }
        match &self.follow {
            Follow::Unwatched => out.u8(0),
            Follow::HandedOn => out.u8(1),
            Follow::ForAPerson => out.u8(4),
            Follow::By { at, claim: None } => {
                out.u8(2);
                out.time(*at);
            }
            Follow::By { at, claim: Some(ClaimName { scope, key }) } => {
                out.u8(3);
                out.time(*at);
                out.text(scope);
                out.text(key);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut row = RecordRow::read_old(1, from)?;
        row.follow = match from.u8()? {
            0 => Follow::Unwatched,
            1 => Follow::HandedOn,
            2 => Follow::By { at: from.time()?, claim: None },
            3 => {
                let at = from.time()?;
                let scope = from.text()?.into();
                Follow::By { at, claim: Some(ClaimName { scope, key: from.text()? }) }
            }
            4 => Follow::ForAPerson,
            _ => return Err(Damaged("unknown kind of what follows a record")),
        };
        Ok(row)
    }

    fn read_old(version: u8, from: &mut Reader<'_>) -> Result<Self, Damaged> {
        if version != 1 {
            return Err(Damaged("unknown version"));
        }
        let code = from.u8()?;
        let status = RecordStatus::ALL
            .into_iter()
            .find(|status| status_code(*status) == code)
            .ok_or(Damaged("unknown record status"))?;
        Ok(RecordRow {
            status,
            attempt: Attempt(from.u32()?),
            at: from.time()?,
            business_key: from.text()?,
            recipient: from.text()?,
            provider: from.text()?,
            provider_reference: from.text()?,
            detail: from.text()?,
            event_id: from.text()?,
            follow: Follow::Unwatched,
        })
    }
}

impl Row for IdBlockRow {
    fn write(&self, out: &mut Writer<'_>) {
        out.u64(self.first.0);
        out.u64(self.end.0);
        out.u32(self.ids);
        out.u32(self.chunks);
        out.time(self.oldest);
        out.time(self.newest);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(IdBlockRow {
            first: Offset(from.u64()?),
            end: Offset(from.u64()?),
            ids: from.u32()?,
            chunks: from.u32()?,
            oldest: from.time()?,
            newest: from.time()?,
        })
    }
}

/// The stable code of a record status.
fn status_code(status: RecordStatus) -> u8 {
    match status {
        RecordStatus::Accepted => 1,
        RecordStatus::Scheduled => 2,
        RecordStatus::Claimed => 3,
        RecordStatus::Attempted => 4,
        RecordStatus::Sent => 5,
        RecordStatus::Delivered => 6,
        RecordStatus::Bounced => 7,
        RecordStatus::Unknown => 8,
        RecordStatus::Expired => 9,
        RecordStatus::Suppressed => 10,
        RecordStatus::Dead => 11,
        RecordStatus::Manual => 12,
    }
}

/// An event inside another row: its place and its record.
pub(super) fn write_event(event: &StoredEvent, out: &mut Writer<'_>) {
    out.0.extend_from_slice(&event.position.slot.0.to_be_bytes());
    out.u64(event.position.offset.0);
    let mut record = Vec::new();
    encode_event(event, &mut record);
    out.bytes(&record);
}

pub(super) fn read_event(from: &mut Reader<'_>) -> Result<StoredEvent, Damaged> {
    let slot = Slot(u16::from_be_bytes(from.array()?));
    let position = Position { slot, offset: Offset(from.u64()?) };
    decode_event(position, from.bytes()?)
}
