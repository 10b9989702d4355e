//! A sandbox without a host around it, and deliveries for it: what B10 measures is the plugin and its cage alone.
//!
//! Imports answer at once, so nothing of ledger, store or queue is in the figures. Knows nothing of scenarios.
//! Invariant: a gate is back at zero only when every call handed over has ended.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use anyhow::Result;
use bugle_core::delivery::{CallEnd, Delivery};
use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Attempt, ClaimId, Name, Offset, Position, Slot, Ticket, TopicId};
use bugle_core::import::{ClaimOutcome, Import, ImportResult, Reply};
use bugle_core::step::Batch;
use bugle_core::time::Timestamp;
use bugle_egress::{Egress, Options as EgressOptions};
use bugle_sandbox::{Binding, Compiler, Grants, HostCalls, Limits, Options, Plugin, Sandbox, Tighter};
use tokio::sync::Semaphore;

/// Deliveries handed over at once, as a worker would.
pub(crate) const BATCH: usize = 500;

/// Counts down calls under way.
#[derive(Default)]
pub(crate) struct Gate {
    left: Mutex<usize>,
    done: Condvar,
    failures: AtomicU64,
    /// Calls are to trap, not to return.
    traps: bool,
}

impl Gate {
    /// For calls that are to trap.
    pub(crate) fn of_traps() -> Gate {
        Gate { traps: true, ..Gate::default() }
    }

    pub(crate) fn add(&self, calls: usize) {
        *self.left.lock().expect("nobody panics with the lock") += calls;
    }

    /// Waits until at most this many calls are under way.
    pub(crate) fn wait(&self, left_max: usize) {
        let left = self.left.lock().expect("nobody panics with the lock");
        drop(self.done.wait_while(left, |left| *left > left_max).expect("nobody panics with the lock"));
    }

    /// Fails if a call did not end as it should.
    pub(crate) fn check(&self) -> Result<()> {
        let failures = self.failures.load(Ordering::Relaxed);
        anyhow::ensure!(failures == 0, "{failures} calls ended in another way than they should");
        Ok(())
    }
}

/// One delivery.
pub(crate) struct Call {
    delivery: Delivery,
    gate: Arc<Gate>,
    held: Option<Arc<Semaphore>>,
}

impl Call {
    /// Its claim is answered when the semaphore is closed, and says then that everything was done before.
    pub(crate) fn held_by(self, held: &Arc<Semaphore>) -> Call {
        Call { held: Some(Arc::clone(held)), ..self }
    }
}

impl HostCalls for Call {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn topic(&self) -> Name {
        "orders".into()
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    async fn import(&mut self, import: Import) -> ImportResult {
        let Import::Claim { .. } = import else { return Ok(Reply::Done) };
        let Some(held) = &self.held else {
            return Ok(Reply::Claim(ClaimOutcome::Claimed {
                claim: ClaimId(self.delivery.ticket.0),
                uncertain: false,
            }));
        };
        // It has no permits: this ends when it is closed.
        drop(held.acquire().await);
        Ok(Reply::Claim(ClaimOutcome::Done(Some(b"200".to_vec()))))
    }

    fn finish(self, end: CallEnd) {
        let is_right = match end {
            CallEnd::Returned(Ok(())) => !self.gate.traps,
            CallEnd::Trapped(_) => self.gate.traps,
            _ => false,
        };
        if !is_right {
            self.gate.failures.fetch_add(1, Ordering::Relaxed);
            eprintln!("a call ended with {end:?}");
        }
        let mut left = self.gate.left.lock().expect("nobody panics with the lock");
        *left -= 1;
        if *left == 0 || *left == BATCH {
            self.gate.done.notify_all();
        }
    }
}

/// An event with an id and a key of its own, and a payload as a notification has it.
pub(crate) fn numbered(number: u64) -> Result<Event> {
    let data = format!(r#"{{"order": {number}, "status": "paid", "to": "customer-{number}@example.com"}}"#);
    made("order.paid", &data, &format!("event-{number}"), &format!("key-{number}"))
}

/// An event of a type with a payload.
pub(crate) fn event(kind: &str, data: &str) -> Result<Event> {
    made(kind, data, "event-1", "key-1")
}

fn made(kind: &str, data: &str, id: &str, key: &str) -> Result<Event> {
    let mut bytes = Vec::new();
    let mut put = |text: &str| {
        let span = Span { start: bytes.len() as u32, len: text.len() as u32 };
        bytes.extend_from_slice(text.as_bytes());
        span
    };
    let index = Index {
        id: put(id),
        source: put("/bench"),
        kind: put(kind),
        key: Some(put(key)),
        content_type: Some(put("application/json")),
        data: put(data),
        ..Index::default()
    };
    Event::new(bytes.into(), index).map_err(|error| anyhow::anyhow!("not an event: {error:?}"))
}

/// That many deliveries of an event, of which so many may share a call of a batch channel.
pub(crate) fn calls(count: usize, shared_by: usize, event: &Event, gate: &Arc<Gate>) -> Vec<Call> {
    (0..count)
        .map(|n| {
            let position = Position { slot: Slot(0), offset: Offset(n as u64) };
            let event = StoredEvent { position, topic: TopicId(1), received: Timestamp(0), event: event.clone() };
            let delivery = Delivery {
                ticket: Ticket(n as u64 + 1),
                event,
                attempt: Attempt(1),
                idempotency_key: format!("key-{n}"),
                deadline: Timestamp(60_000),
                wants_fresh: false,
                may_resend: false,
                is_for_a_person: false,
                asks: None,
                batch: Some(Batch { first: Ticket((n - n % shared_by) as u64 + 1), place: (n % shared_by) as u32 }),
            };
            Call { delivery, gate: Arc::clone(gate), held: None }
        })
        .collect()
}

/// A sandbox with room for so many instances, and a component in it.
pub(crate) fn sandbox<C: HostCalls>(
    runtime: &tokio::runtime::Runtime,
    cache: &Path,
    slots: usize,
    component: PathBuf,
) -> Result<(Sandbox<C>, Plugin)> {
    let sandbox = Sandbox::new(Options {
        guest: runtime.handle().clone(),
        guest_threads: runtime.metrics().num_workers(),
        cache: cache.join("compiled"),
        compiler: Compiler::InProcess,
        egress: Egress::new(EgressOptions::default())?,
        limits: Limits { slots: u32::try_from(slots.max(100))?, ..Limits::default() },
    })?;
    let plugin = runtime.block_on(sandbox.load(std::fs::read(component)?, None))?;
    Ok((sandbox, plugin))
}

/// Lets a subscription of that name run the plugin, so many calls at once, perhaps with one origin to post to, unsigned.
pub(crate) fn activate<C: HostCalls>(
    sandbox: &Sandbox<C>,
    plugin: &Plugin,
    name: &str,
    concurrency: usize,
    origin: Option<&str>,
) -> Result<()> {
    let egress = origin.map(str::parse).transpose()?.into_iter().collect();
    let settings = origin.map(|origin| [("url".to_owned(), origin.into()), ("sign".to_owned(), false.into())]);
    let settings = settings.into_iter().flatten().collect();
    let binding = Binding {
        subscription: name.into(),
        is_ordered: true,
        concurrency: u32::try_from(concurrency)?,
        settings,
        grants: Grants { egress, ..Grants::default() },
        limits: Tighter::default(),
        business_key: None,
        uncertain: None,
    };
    sandbox.activate(&sandbox.bind(plugin, &binding)?);
    Ok(())
}
