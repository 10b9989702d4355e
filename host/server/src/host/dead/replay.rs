//! Replaying dead letters: the plan that sends nothing, and the job that delivers them again at a rate.
//!
//! A job works on what was open when it began, in the order of the first events, a few letters per batch: in one batch a letter
//! becomes `replayed` and its copy is appended, so a job that ends half-way leaves the rest open and none sent twice. It ends when
//! nobody reads its progress any more. One job per subscription.
//!
//! Invariant: progress tells of durable letters only.

use std::sync::Arc;
use std::time::Duration;

use bugle_broker::{Changed, ClaimFact, Letters};
use bugle_core::code::Code;
use bugle_core::ids::Position;
use bugle_core::origin::Origin;
use bugle_core::row::{DeadRow, DeadState};
use bugle_core::subscription::{DecideError, Decision};
use tokio::time::Instant;

use crate::api::{Failure, PlannedReplay, ReplayPlan, ReplayProgress, ReplayRequest};
use crate::host::Host;
use crate::host::audit::Audit;
use crate::host::kept::filter::Wanted;
use crate::host::kept::{CHANGED_AT_ONCE, Kept as _, KeptError, Selected};

/// Letters of a plan that are shown one by one.
const SHOWN_MAX: usize = 20;
/// With a rate, a batch holds the letters of about this long, so that they leave evenly.
const BATCHES_PER_SECOND: u32 = 20;

/// A replay that began. Call [`ReplayJob::step`] until it says that it is done; dropped before, it ends there.
pub struct ReplayJob {
    host: Arc<Host>,
    letters: Letters,
    wanted: Wanted<DeadState>,
    selected: Vec<Selected>,
    /// Of `selected`, how many were worked on.
    at: usize,
    rate: Option<u32>,
    began: Instant,
    audit: Audit,
    progress: ReplayProgress,
}

impl Host {
    /// What a replay would do, and what dedup would suppress. Sends and changes nothing.
    pub async fn plan_replay(&self, request: &ReplayRequest) -> Result<ReplayPlan, KeptError> {
        let ReplayRequest { subscription, filter, .. } = request;
        let wanted = self.wanted(filter)?.undecided();
        let letters = self.bus().hold_letters(subscription)?;
        let selected = self.select::<DeadRow>(subscription, &letters, &wanted).await?;
        let mut plan = ReplayPlan { letters: selected.len() as u64, ..ReplayPlan::default() };
        for chunk in selected.chunks(CHANGED_AT_ONCE) {
            let mut rows = Vec::new();
            for letter in chunk {
                rows.extend(self.bus().letter(subscription, letter.position).await?);
            }
            let origins: Vec<Origin> = rows.iter().map(|row| letters.origin(&row.event, row.generation)).collect();
            let facts = self.dedup_facts(subscription, &rows, &origins).await?;
            for ((row, origin), fact) in rows.iter().zip(&origins).zip(facts) {
                let (count, word) = match fact {
                    ClaimFact::Free => (&mut plan.would_send, "free"),
                    ClaimFact::Done => (&mut plan.would_suppress, "done"),
                    ClaimFact::Uncertain => (&mut plan.uncertain, "uncertain"),
                };
                *count += 1;
                plan.in_place += u64::from(row.holds_key);
                if plan.first.len() < SHOWN_MAX {
                    plan.first.push(PlannedReplay {
                        position: row.event.position.to_string(),
                        event_id: row.event.event.id().to_owned(),
                        key: row.event.event.key().map(str::to_owned),
                        how: if row.holds_key { "in-place" } else { "copy" }.to_owned(),
                        dedup: word.to_owned(),
                        idempotency_key: self.bus().idempotency_key(origin),
                    });
                }
            }
        }
        Ok(plan)
    }

    /// What dedup knows of letters: of their business keys and of their idempotency keys, under which plugins claim.
    async fn dedup_facts(
        &self,
        subscription: &str,
        rows: &[DeadRow],
        origins: &[Origin],
    ) -> Result<Vec<ClaimFact>, KeptError> {
        let attribute = self.business_key_attribute(subscription);
        let business = |row: &DeadRow| bugle_sandbox::business_key(&row.event.event, attribute.as_deref());
        let keys = rows.iter().map(business).chain(origins.iter().map(|origin| self.bus().idempotency_key(origin)));
        let facts = self.bus().claims(subscription, keys.collect()).await?;
        let (by_business, by_idempotency) = facts.split_at(rows.len());
        let either = |(one, other): (&ClaimFact, &ClaimFact)| match (one, other) {
            (ClaimFact::Done, _) | (_, ClaimFact::Done) => ClaimFact::Done,
            (ClaimFact::Uncertain, _) | (_, ClaimFact::Uncertain) => ClaimFact::Uncertain,
            (ClaimFact::Free, ClaimFact::Free) => ClaimFact::Free,
        };
        Ok(by_business.iter().zip(by_idempotency).map(either).collect())
    }

    fn business_key_attribute(&self, subscription: &str) -> Option<String> {
        let definitions = crate::host::locked(&self.definitions);
        definitions.get(subscription).and_then(|row| row.definition.business_key.clone())
    }

    /// Begins a replay.
    pub async fn replay(self: Arc<Self>, request: &ReplayRequest) -> Result<ReplayJob, KeptError> {
        let ReplayRequest { subscription, filter, rate } = request;
        if *rate == Some(0) {
            return Err(KeptError::Invalid("a rate of 0 would replay nothing; use 1 or more".to_owned()));
        }
        let named = self.wanted(filter)?;
        let letters = self.bus().hold_letters(subscription)?;
        if let Some(position) = named.position
            && let Some(row) = self.bus().letter(subscription, position).await?
            && !row.state.is_undecided()
        {
            return Err(DeadRow::refused(position, DecideError::Decided(row.state)));
        }
        let wanted = named.undecided();
        let selected = self.select::<DeadRow>(subscription, &letters, &wanted).await?;
        if let (Some(position), true) = (wanted.position, selected.is_empty()) {
            return Err(DeadRow::not_found(subscription, position));
        }
        let progress = ReplayProgress { total: selected.len() as u64, ..ReplayProgress::default() };
        Ok(ReplayJob {
            audit: self.audit("dead.replay", subscription),
            host: self,
            letters,
            wanted,
            selected,
            at: 0,
            rate: *rate,
            began: Instant::now(),
            progress,
        })
    }
}

impl ReplayJob {
    /// Replays the next few letters, as soon as the rate allows; how far it is then. An error ends it.
    pub async fn step(&mut self) -> ReplayProgress {
        let stepped = self.try_step().await;
        if let Err(error) = stepped {
            self.progress.is_done = true;
            self.progress.error = Some(Failure { code: error.code().text().to_owned(), message: error.to_string() });
        }
        self.progress.clone()
    }

    async fn try_step(&mut self) -> Result<(), KeptError> {
        let size = self.rate.map_or(CHANGED_AT_ONCE, |rate| (rate / BATCHES_PER_SECOND).max(1) as usize);
        let end = (self.at + size.min(CHANGED_AT_ONCE)).min(self.selected.len());
        let positions: Vec<Position> =
            self.selected.get(self.at..end).unwrap_or_default().iter().map(|letter| letter.position).collect();
        if !positions.is_empty() {
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(self.at as f64 / f64::from(rate));
                tokio::time::sleep_until(self.began + due).await;
            }
            let (audit, wanted, before) = (&self.audit, &self.wanted, self.progress.replayed);
            let choose = |row: &DeadRow| row.is_wanted(wanted).then_some(Decision::Replay);
            let also = |more| vec![audit.row(format!("{} letters; {wanted}", before + more as u64))];
            for changed in self.letters.change(positions, choose, also).await? {
                match changed {
                    Changed::Done => self.progress.replayed += 1,
                    Changed::Gone | Changed::Skipped | Changed::Refused(_) => self.progress.skipped += 1,
                }
            }
        }
        self.at = end;
        self.progress.is_done = end >= self.selected.len();
        if self.host.is_stopping() && !self.progress.is_done {
            self.progress.is_done = true;
            let message = "the host is stopping; run the replay again, it takes what is still open".to_owned();
            self.progress.error = Some(Failure { code: Code::GoingAway.text().to_owned(), message });
        }
        Ok(())
    }
}
