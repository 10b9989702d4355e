//! State rows: what a subscription recovers from, claims, kv, definitions.
//!
//! Knows nothing of expiry: a row that has run out is returned, and the core takes it as absent.
//!
//! Invariant: as of all readers, a damaged row is an error.

use bugle_core::event::Class;
use bugle_core::ids::{Offset, SubscriptionId};
use bugle_core::row::{
    ChannelRow, ClaimRow, CursorChunk, CursorRow, DeadTotals, HoldRow, KvRow, LetGoRow, PausedRow, RunRow,
    UnknownTotals, WaitingRow,
};
use bugle_core::step::CatalogKind;

use super::{ReadError, damaged};
use crate::codec::{Damaged, Row, decode_without_notes};
use crate::family::Family;
use crate::keys::{self, Fields, Key, Kind};
use crate::store::Store;

/// Everything a subscription recovers from, but its waiting deliveries ([`Store::waiting`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionRows {
    /// Floor of each class that has one.
    pub cursors: Vec<(Class, CursorRow)>,
    /// Chunk number and settled offsets, in order, by class.
    pub chunks: Vec<(Class, u64, CursorChunk)>,
    /// Lanes kept closed: ordering key and class.
    pub holds: Vec<(String, Class, HoldRow)>,
    /// Pause mark.
    pub paused: Option<PausedRow>,
    /// Breaker and degrade rules of its channel.
    pub channel: Option<ChannelRow>,
    /// Its dead letters in numbers; absent if an older host wrote the last of them.
    pub dead: Option<DeadTotals>,
    /// Its unknown results in numbers; absent if an older host wrote the last of them.
    pub unknown: Option<UnknownTotals>,
    /// How an operator has it run.
    pub run: Option<RunRow>,
    /// What it let go of, oldest first.
    pub let_go: Vec<LetGoRow>,
}

/// A page of kv entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPage {
    /// Keys and rows in key order, those that have ended too.
    pub rows: Vec<(String, KvRow)>,
    /// No more follow.
    pub is_end: bool,
}

/// A key and its row.
type Typed<R> = (Box<[u8]>, R);

const CLASSES: [Class; 3] = [Class::Critical, Class::Normal, Class::Low];

impl Store {
    /// What a subscription recovers from.
    pub fn subscription(&self, subscription: SubscriptionId) -> Result<SubscriptionRows, ReadError> {
        let mut rows = SubscriptionRows {
            paused: self.row(Family::Lane, &keys::paused(subscription))?,
            channel: self.row(Family::Lane, &keys::channel(subscription))?,
            dead: self.row(Family::Dead, &keys::dead_totals(subscription))?,
            unknown: self.row(Family::Dead, &keys::unknown_totals(subscription))?,
            run: self.row(Family::Lane, &keys::run(subscription))?,
            let_go: self.let_go(subscription)?,
            ..SubscriptionRows::default()
        };
        for class in CLASSES {
            if let Some(row) = self.row(Family::Cursor, &keys::cursor(subscription, class))? {
                rows.cursors.push((class, row));
            }
            for (key, row) in self.typed(Family::Cursor, &keys::chunks(subscription, class))? {
                rows.chunks.push((class, last_u64(&key)?, row));
            }
        }
        let prefix = keys::holds(subscription);
        for (key, row) in self.typed(Family::Lane, &prefix)? {
            let mut fields = Fields::of(&key);
            let hold = (|| {
                let (_, _, class) = (fields.subscription()?, fields.slot()?, fields.class()?);
                Some((fields.rest()?.to_owned(), class, row))
            })();
            rows.holds.push(hold.ok_or(Damaged("its key is not a hold's")).map_err(damaged(&key))?);
        }
        Ok(rows)
    }

    /// What a subscription let go of, oldest first; the store keeps the latest few hundred rows.
    pub fn let_go(&self, subscription: SubscriptionId) -> Result<Vec<LetGoRow>, ReadError> {
        let rows = self.typed(Family::Lane, &keys::let_gos(subscription))?;
        let mut rows: Vec<LetGoRow> = rows.into_iter().map(|(_, row)| row).collect();
        rows.sort_unstable_by_key(|row| row.serial);
        Ok(rows)
    }

    /// Deliveries of a subscription that wait, in the order of their offsets: there can be millions, so they come one by one.
    pub fn waiting(
        &self,
        subscription: SubscriptionId,
    ) -> impl Iterator<Item = Result<(Offset, WaitingRow), ReadError>> {
        self.rows_from(Family::Lane, &keys::waitings(subscription), None).map(|pair| {
            let (key, value) = pair?;
            Ok((Offset(last_u64(&key)?), WaitingRow::decode(&value).map_err(damaged(&key))?))
        })
    }

    /// Hands each of them to `each` in the order of their offsets, without the notes on their attempts: several times as fast, for
    /// a start.
    pub fn each_waiting(
        &self,
        subscription: SubscriptionId,
        mut each: impl FnMut(Offset, WaitingRow),
    ) -> Result<(), ReadError> {
        self.each_row(Family::Lane, &keys::waitings(subscription), |key, value| {
            each(Offset(last_u64(key)?), decode_without_notes(value).map_err(damaged(key))?);
            Ok(())
        })
    }

    /// One of them.
    pub fn waiting_at(&self, subscription: SubscriptionId, offset: Offset) -> Result<Option<WaitingRow>, ReadError> {
        self.row(Family::Lane, &keys::waiting(subscription, offset))
    }

    /// Whether a class of the subscription has a cursor, so whether it ever started.
    pub fn cursor(&self, subscription: SubscriptionId, class: Class) -> Result<Option<CursorRow>, ReadError> {
        self.row(Family::Cursor, &keys::cursor(subscription, class))
    }

    /// The cursor of every subscription that has one, as far as it is on disk.
    pub fn cursors(&self) -> Result<Vec<(SubscriptionId, CursorRow)>, ReadError> {
        let rows = self.typed(Family::Cursor, &Key::of(Kind::Cursor))?;
        let subscription = |key: &[u8]| Fields::of(key).subscription().ok_or(Damaged("its key is not a cursor's"));
        rows.into_iter().map(|(key, row)| Ok((subscription(&key).map_err(damaged(&key))?, row))).collect()
    }

    /// A dedup claim.
    pub fn claim(&self, scope: &str, key: &str) -> Result<Option<ClaimRow>, ReadError> {
        self.row(Family::Claim, &keys::claim(scope, key))
    }

    /// A kv entry.
    pub fn kv(&self, store: &str, key: &str) -> Result<Option<KvRow>, ReadError> {
        self.row(Family::Kv, &keys::kv(store, key))
    }

    /// kv entries whose keys begin with `prefix`, after the key `after`, in key order: at most `limit`, and no more once they have
    /// `bytes_max`.
    pub fn kv_scan(
        &self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<KvPage, ReadError> {
        let head = keys::kv(store, "");
        // The smallest key after `after` is `after` with a zero byte behind it.
        let from = after.filter(|after| *after >= prefix).map(|after| keys::kv(store, &format!("{after}\0")));
        let mut page = KvPage { rows: Vec::new(), is_end: true };
        let mut bytes = 0;
        for pair in self.rows_from(Family::Kv, &keys::kv(store, prefix), from.as_ref().map(AsRef::as_ref)) {
            if page.rows.len() == limit || bytes >= bytes_max {
                page.is_end = false;
                break;
            }
            let (key, value) = pair?;
            bytes += key.len() + value.len();
            let name = key.strip_prefix(head.as_ref()).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or(Damaged("its key is not UTF-8")).map_err(damaged(&key))?;
            page.rows.push((name.to_owned(), KvRow::decode(&value).map_err(damaged(&key))?));
        }
        Ok(page)
    }

    /// A definition of the server.
    pub fn catalog(&self, kind: CatalogKind, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let key = keys::catalog(kind, key);
        let value = self.db().get_pinned_cf(&self.family(Family::Meta), &key)?;
        value.map(|value| unversioned(&value).map(<[u8]>::to_vec).map_err(damaged(key.as_ref()))).transpose()
    }

    /// At most `limit` definitions of a kind after the key `after`, in key order.
    pub fn catalog_list(
        &self,
        kind: CatalogKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let prefix = keys::catalogs(kind);
        let from = after.map(|after| keys::catalog(kind, &format!("{after}\0")));
        self.rows_from(Family::Meta, &prefix, from.as_ref().map(AsRef::as_ref))
            .take(limit)
            .map(|pair| {
                let (key, value) = pair?;
                let name = key.strip_prefix(prefix.as_ref()).and_then(|name| std::str::from_utf8(name).ok());
                let name = name.ok_or(Damaged("its key is not UTF-8")).map_err(damaged(&key))?;
                Ok((name.to_owned(), unversioned(&value).map_err(damaged(&key))?.to_vec()))
            })
            .collect()
    }

    /// Keys and rows under a prefix.
    pub(super) fn typed<R: Row>(&self, family: Family, prefix: &Key) -> Result<Vec<Typed<R>>, ReadError> {
        self.rows_from(family, prefix, None)
            .map(|pair| {
                let (key, value) = pair?;
                let row = R::decode(&value).map_err(damaged(&key))?;
                Ok((key, row))
            })
            .collect()
    }
}

fn last_u64(key: &[u8]) -> Result<u64, ReadError> {
    let number = key.last_chunk::<8>().copied().map(u64::from_be_bytes);
    number.ok_or(Damaged("its key is too short")).map_err(damaged(key))
}

/// The bytes behind the version byte.
pub(crate) fn unversioned(value: &[u8]) -> Result<&[u8], Damaged> {
    match value.split_first() {
        Some((1, bytes)) => Ok(bytes),
        Some(_) => Err(Damaged("unknown version")),
        None => Err(Damaged("ends too early")),
    }
}
