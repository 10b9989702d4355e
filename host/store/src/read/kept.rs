//! What people look for: dead letters, parked deliveries.
//!
//! Invariant: a page ends where the next one begins: pages by `after` leave nothing out.

use bugle_core::ids::{Position, SubscriptionId};
use bugle_core::row::{DeadRow, UnknownRow};

use super::{ReadError, damaged};
use crate::codec::{Damaged, Row};
use crate::family::Family;
use crate::keys::{self, Fields, Kind};
use crate::store::Store;

/// A dead letter and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEntry {
    /// Its event's place.
    pub position: Position,
    /// The letter.
    pub row: DeadRow,
}

/// A parked delivery and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEntry {
    /// Its event's place.
    pub position: Position,
    /// The delivery.
    pub row: UnknownRow,
}

impl Store {
    /// At most `limit` dead letters of a subscription after the place `after`.
    pub fn dead(
        &self,
        subscription: SubscriptionId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<DeadEntry>, ReadError> {
        self.kept(Kind::Dead, subscription, after, limit, |position, row| DeadEntry { position, row })
    }

    /// One dead letter.
    pub fn dead_at(&self, subscription: SubscriptionId, position: Position) -> Result<Option<DeadRow>, ReadError> {
        self.row(Family::Dead, &keys::kept_at(Kind::Dead, subscription, position))
    }

    /// At most `limit` parked deliveries of a subscription after the place `after`.
    pub fn unknown(
        &self,
        subscription: SubscriptionId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<UnknownEntry>, ReadError> {
        self.kept(Kind::Unknown, subscription, after, limit, |position, row| UnknownEntry { position, row })
    }

    /// One parked delivery.
    pub fn unknown_at(
        &self,
        subscription: SubscriptionId,
        position: Position,
    ) -> Result<Option<UnknownRow>, ReadError> {
        self.row(Family::Dead, &keys::kept_at(Kind::Unknown, subscription, position))
    }

    fn kept<R: Row, E>(
        &self,
        kind: Kind,
        subscription: SubscriptionId,
        after: Option<Position>,
        limit: usize,
        entry: impl Fn(Position, R) -> E,
    ) -> Result<Vec<E>, ReadError> {
        // The smallest key after a whole key is that key with a zero byte behind it.
        let from = after.map(|after| {
            let mut key = keys::kept_at(kind, subscription, after).as_ref().to_vec();
            key.push(0);
            key
        });
        self.rows_from(Family::Dead, &keys::kept(kind, subscription), from.as_deref())
            .take(limit)
            .map(|pair| {
                let (key, value) = pair?;
                let mut fields = Fields::of(&key);
                let position = fields.subscription().and_then(|_| fields.position());
                let position = position.ok_or(Damaged("its key is too short")).map_err(damaged(&key))?;
                Ok(entry(position, R::decode(&value).map_err(damaged(&key))?))
            })
            .collect()
    }
}
