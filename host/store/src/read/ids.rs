//! The id window's sealed blocks, and everything admission needs after a restart.
//!
//! Knows nothing of hashing. Invariant: a look-up returns every event its place has with that hash, in the order of the
//! look-ups.

use std::ops::ControlFlow;

use bugle_core::admission::{IdFact, IdLookup, IdPlace, Recovery};
use bugle_core::ids::{Offset, Position, ProducerEpoch, Sequence, StreamId};
use bugle_core::row::{IdBlockRow, IdEntry};

use super::{ReadError, damaged};
use crate::codec::{Damaged, Number, Row, decode_ids, visit_id};
use crate::family::Family;
use crate::keys::{self, Fields, Key, Kind, SLOT};
use crate::store::Store;

impl Store {
    /// Sealed blocks, oldest first.
    pub fn id_blocks(&self) -> Result<Vec<(u64, IdBlockRow)>, ReadError> {
        self.rows_from(Family::Ids, &Key::of(Kind::IdBlock), None)
            .map(|pair| {
                let (key, value) = pair?;
                let block = Fields::of(&key).u64().ok_or(Damaged("its key is too short")).map_err(damaged(&key))?;
                Ok((block, IdBlockRow::decode(&value).map_err(damaged(&key))?))
            })
            .collect()
    }

    /// One chunk of a sealed block.
    pub fn id_chunk(&self, block: u64, chunk: u32) -> Result<Vec<IdEntry>, ReadError> {
        let key = keys::id_chunk(block, chunk);
        let value = self.db().get_pinned_cf(&self.family(Family::Ids), &key)?;
        let value = value.ok_or(Damaged("a sealed block lacks a chunk")).map_err(damaged(key.as_ref()))?;
        decode_ids(&value).map_err(damaged(key.as_ref()))
    }

    /// Offsets a sealed block has for a hash.
    pub fn find_id(&self, block: u64, hash: u64) -> Result<Vec<Offset>, ReadError> {
        let Some(row) = self.row::<IdBlockRow>(Family::Ids, &keys::id_block(block))? else {
            return Ok(Vec::new());
        };
        let ids = self.id_chunk(block, row.chunk_of(hash))?;
        let start = ids.partition_point(|id| id.hash < hash);
        Ok(ids[start..].iter().take_while(|id| id.hash == hash).map(|id| id.offset).collect())
    }

    /// What the look-ups of a probe find. Events in memory need not be asked for; give facts in the order of the look-ups.
    pub fn id_facts(&self, lookups: &[IdLookup]) -> Result<Vec<IdFact>, ReadError> {
        let mut facts = Vec::new();
        for lookup in lookups {
            let offsets = match lookup.place {
                IdPlace::Log(offset) => vec![offset],
                IdPlace::Block(block) => self.find_id(block, lookup.hash)?,
            };
            for offset in offsets {
                if let Some(event) = self.event(Position { slot: SLOT, offset })? {
                    facts.push(IdFact { index: lookup.index, event });
                }
            }
        }
        Ok(facts)
    }

    /// Last stored sequences of a producer's life.
    pub fn producer_sequences(
        &self,
        producer: &str,
        epoch: ProducerEpoch,
    ) -> Result<Vec<(StreamId, Sequence)>, ReadError> {
        let prefix = keys::sequences(producer, epoch);
        self.rows_from(Family::Cursor, &prefix, None)
            .map(|pair| {
                let (key, value) = pair?;
                let stream = key.last_chunk::<4>().copied().map(u32::from_be_bytes).unwrap_or_default();
                let Number(sequence) = Number::decode(&value).map_err(damaged(&key))?;
                Ok((StreamId(stream), Sequence(sequence)))
            })
            .collect()
    }

    /// Feeds a recovery of admission with all it needs: sealed blocks, then the log behind them.
    pub fn feed(&self, recovery: &mut Recovery) -> Result<(), ReadError> {
        for (block, row) in self.id_blocks()? {
            recovery.block(block, row);
            self.feed_block(recovery, block, row)?;
        }
        self.walk(recovery.replay_from(), true, |offset, value| {
            let position = Position { slot: SLOT, offset };
            visit_id(position, value, |topic, received, source, id| recovery.id(topic, source, id, offset, received))?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn feed_block(&self, recovery: &mut Recovery, block: u64, row: IdBlockRow) -> Result<(), ReadError> {
        // Behind the block's last chunk there may be some of an earlier attempt to seal it, from before a restart.
        let end = keys::id_chunk(block, row.chunks);
        let mut count = 0;
        for pair in self.rows_from(Family::Ids, &keys::id_chunks(block), None) {
            let (key, value) = pair?;
            if *key >= *end.as_ref() {
                break;
            }
            let ids = decode_ids(&value).map_err(damaged(&key))?;
            count += ids.len();
            recovery.chunk(block, &ids);
        }
        if count != row.ids as usize {
            return Err(damaged(keys::id_block(block).as_ref())(Damaged("a sealed block lacks ids")));
        }
        Ok(())
    }
}
