//! A sandbox with a plugin in it, calls that answer imports by a script, and events made from parts.
//!
//! Knows nothing of the core's decisions: an import is answered by the test or by the plainest good answer.

use bugle_core::callback::StatusChange;
use bugle_core::delivery::{CallEnd, Delivery};
use bugle_core::event::{Event, Index, Span, StoredEvent};
use bugle_core::ids::{Attempt, ClaimId, Name, Offset, Position, Slot, Ticket, TopicId};
use bugle_core::import::{ClaimOutcome, Import, ImportResult, Reply};
use bugle_core::step::Batch;
use bugle_core::time::Timestamp;
use bugle_egress::{Egress, Options as EgressOptions};
use bugle_sandbox::inbound::{Callback, ReceiveError};
use bugle_sandbox::{Binding, Bound, Compiler, Grants, HostCalls, Limits, Options, Plugin, Sandbox, Tighter};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Nothing here takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

type Answer = dyn Fn(&Import) -> Option<ImportResult> + Send + Sync;

/// One scripted call.
pub(crate) struct Scripted {
    delivery: Delivery,
    seen: Arc<Mutex<Vec<Import>>>,
    answer: Arc<Answer>,
    end: oneshot::Sender<CallEnd>,
    /// The name of the timer that it is.
    timer: Option<String>,
}

impl Scripted {
    /// The call as it is after one that broke.
    pub(crate) fn wanting_fresh(mut self) -> Scripted {
        self.delivery.wants_fresh = true;
        self
    }

    /// The call as that of a timer.
    pub(crate) fn of_timer(mut self, name: &str) -> Scripted {
        self.timer = Some(name.to_owned());
        self
    }

    /// The call as one that shares its call of the plugin with others.
    pub(crate) fn in_batch(mut self, batch: Batch) -> Scripted {
        self.delivery.batch = Some(batch);
        self
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.delivery.ticket
    }
}

impl HostCalls for Scripted {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn topic(&self) -> Name {
        "orders".into()
    }

    fn now(&self) -> Timestamp {
        now()
    }

    fn timer(&self) -> Option<&str> {
        self.timer.as_deref()
    }

    async fn import(&mut self, import: Import) -> ImportResult {
        // Answers come from elsewhere in earnest; let others run as they would then.
        tokio::task::yield_now().await;
        let answer = (self.answer)(&import).unwrap_or_else(|| Ok(plain(&import)));
        self.seen.lock().unwrap().push(import);
        answer
    }

    fn finish(self, end: CallEnd) {
        // A test that gave up waiting is not told.
        drop(self.end.send(end));
    }
}

/// The plainest good answer.
fn plain(import: &Import) -> Reply {
    match import {
        Import::Extend(by) => Reply::Granted(*by),
        Import::Claim { .. } => Reply::Claim(ClaimOutcome::Claimed { claim: ClaimId(7), uncertain: false }),
        Import::Waiting => Reply::Count(3),
        Import::FindRecords { .. } => Reply::Records(Vec::new()),
        Import::KvGet { .. } => Reply::Entry(None),
        Import::KvSwap { .. } => Reply::Swapped(true),
        Import::KvScan { .. } => Reply::Entries(Vec::new()),
        Import::Publish(events) => Reply::Ids(events.iter().map(|_| "id".to_owned()).collect()),
        _ => Reply::Done,
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

/// An event of this type with JSON data.
pub(crate) fn event(kind: &str, data: &str) -> Event {
    let mut bytes = Vec::new();
    let mut put = |text: &str| {
        let start = u32::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(text.as_bytes());
        Span { start, len: u32::try_from(text.len()).unwrap() }
    };
    let index = Index {
        id: put("e-1"),
        source: put("/test"),
        kind: put(kind),
        key: Some(put("k-1")),
        content_type: Some(put("application/json")),
        data: put(data),
        others: vec![(put("zone"), put("z")), (put("businesskey"), put("order 7"))],
        ..Index::default()
    };
    Event::new(bytes.into(), index).unwrap()
}

static TICKETS: AtomicU64 = AtomicU64::new(100);

/// What became of one call.
pub(crate) struct Ended {
    pub(crate) end: CallEnd,
    pub(crate) imports: Vec<Import>,
    pub(crate) took: Duration,
}

impl Ended {
    /// The reason of a rejection, which is how the probe tells what it was answered.
    pub(crate) fn told(&self) -> &str {
        match &self.end {
            CallEnd::Returned(Err(bugle_core::delivery::Failure::Reject(reason))) => reason,
            other => panic!("the probe told nothing: {other:?}"),
        }
    }
}

/// A call that has not started, and where its end will be told.
pub(crate) fn call(
    event: Event,
    deadline: Duration,
    answer: impl Fn(&Import) -> Option<ImportResult> + Send + Sync + 'static,
) -> (Scripted, oneshot::Receiver<CallEnd>, Arc<Mutex<Vec<Import>>>) {
    let ticket = TICKETS.fetch_add(10, Ordering::Relaxed);
    let (end, ended) = oneshot::channel();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let stored = StoredEvent {
        position: Position { slot: Slot(0), offset: Offset(ticket) },
        topic: TopicId(1),
        received: now(),
        event,
    };
    let delivery = Delivery {
        ticket: Ticket(ticket),
        event: stored,
        attempt: Attempt(1),
        idempotency_key: format!("idem-{ticket}"),
        deadline: Timestamp(now().0 + u64::try_from(deadline.as_millis()).unwrap()),
        wants_fresh: false,
        may_resend: false,
        is_for_a_person: false,
        batch: None,
        asks: None,
    };
    (Scripted { delivery, seen: Arc::clone(&seen), answer: Arc::new(answer), end, timer: None }, ended, seen)
}

/// A sandbox in a runtime of its own.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) sandbox: Sandbox<Scripted>,
}

pub(crate) const SUBSCRIPTION: &str = "orders-probe";

impl Bench {
    /// An empty sandbox.
    pub(crate) fn empty(limits: Limits, egress: EgressOptions) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let options = Options {
            guest: runtime.handle().clone(),
            guest_threads: 2,
            cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"),
            compiler: Compiler::Child(Some(compile_child())),
            egress: Egress::new(egress).unwrap(),
            limits,
        };
        let sandbox = Sandbox::new(options).unwrap();
        Bench { runtime, sandbox }
    }

    /// The probe, active with these grants and settings.
    pub(crate) fn probe(grants: Grants, settings: &[(&str, &str)]) -> Bench {
        Bench::with(limits(), EgressOptions::default(), grants, settings)
    }

    pub(crate) fn with(limits: Limits, egress: EgressOptions, grants: Grants, settings: &[(&str, &str)]) -> Bench {
        let bench = Bench::empty(limits, egress);
        let plugin = bench.load(&bugle_guests::probe());
        bench.activate(&plugin, &binding(grants, settings));
        bench
    }

    pub(crate) fn load(&self, path: &Path) -> Plugin {
        self.runtime.block_on(self.sandbox.load(std::fs::read(path).unwrap(), None)).unwrap()
    }

    pub(crate) fn activate(&self, plugin: &Plugin, binding: &Binding) -> Bound<Scripted> {
        let bound = self.sandbox.bind(plugin, binding).unwrap();
        self.sandbox.activate(&bound);
        bound
    }

    /// One delivery of this type, answered plainly.
    pub(crate) fn run(&self, kind: &str, data: &str) -> Ended {
        self.run_with(kind, data, PATIENCE, |_| None)
    }

    pub(crate) fn run_with(
        &self,
        kind: &str,
        data: &str,
        deadline: Duration,
        answer: impl Fn(&Import) -> Option<ImportResult> + Send + Sync + 'static,
    ) -> Ended {
        let (call, ended, seen) = call(event(kind, data), deadline, answer);
        let began = std::time::Instant::now();
        self.sandbox.run(SUBSCRIPTION, vec![call]);
        let end = self.wait(ended);
        let took = began.elapsed();
        let imports = std::mem::take(&mut *seen.lock().unwrap());
        Ended { end, imports, took }
    }

    pub(crate) fn wait(&self, ended: oneshot::Receiver<CallEnd>) -> CallEnd {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, ended).await }).unwrap().unwrap()
    }

    /// A callback of a provider.
    pub(crate) fn receive(&self, callback: Callback, within: Duration) -> Result<Vec<StatusChange>, ReceiveError> {
        self.runtime.block_on(self.sandbox.receive(SUBSCRIPTION, callback, within))
    }

    /// Waits until every slot is free again.
    pub(crate) fn drained(&self) -> bool {
        let latest = std::time::Instant::now() + PATIENCE;
        self.runtime.block_on(self.sandbox.stop());
        loop {
            let status = self.sandbox.status();
            if status.slots_free == status.slots {
                return true;
            }
            if std::time::Instant::now() > latest {
                return false;
            }
            std::thread::yield_now();
        }
    }
}

/// Few slots, so that a test is quick to start.
pub(crate) fn limits() -> Limits {
    Limits { slots: 20, ..Limits::default() }
}

pub(crate) fn binding(grants: Grants, settings: &[(&str, &str)]) -> Binding {
    let settings: BTreeMap<String, serde_json::Value> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(*value))).collect();
    Binding {
        subscription: SUBSCRIPTION.into(),
        is_ordered: true,
        concurrency: 32,
        settings,
        grants,
        limits: Tighter::default(),
        business_key: None,
        uncertain: None,
    }
}

/// The program that stands in for the host; cargo builds examples beside tests.
pub(crate) fn compile_child() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/compile_child")
}
