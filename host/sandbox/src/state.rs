//! What a store holds beside the guest: the deliveries of the call under way, rights, WASI, and the budgets that bound it.
//!
//! Imports reach the broker only through here, so that a ticket is checked in one place.
//!
//! Invariant: deliveries are present from [`State::begin`] to [`State::end`] and at no other time; between calls no ticket is live.

use bugle_core::code::Code;
use bugle_core::import::{Import, Reply, Sent};
use bugle_egress::Evidence;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::bugle::plugin::types::Error;
use crate::calls::HostCalls;
use crate::cpu::CpuBudget;
use crate::deadline::Deadline;
use crate::imports::log::LogBudget;
use crate::imports::{error, from_core};
use crate::memory::MemoryLimit;
use crate::options::Bounds;
use crate::output::Output;
use crate::revision::Active;
use crate::rights::Rights;

/// WASI resources of one instance (streams, pollables).
const RESOURCES_MAX: usize = 256;
/// Random bytes per request.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Claims of a call for several deliveries whose delivery is known: far more than may be open at once.
const CLAIMS_KNOWN_MAX: usize = 4096;
/// Between the end of a slow outgoing call and the end of its attempt: enough for any verdict, too little to miss.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// The data of one store.
pub(crate) struct State<C: HostCalls> {
    /// What its instance is of, so that another one can be asked; none in tests of imports.
    pub(crate) active: Option<Arc<Active<C>>>,
    /// One, or several that share the call.
    calls: Vec<C>,
    /// Claims that a call for several deliveries opened, each with its ticket.
    claims: VecDeque<(u64, u64)>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) memory: MemoryLimit,
    pub(crate) output: Output,
    pub(crate) log: LogBudget,
    pub(crate) deadline: Deadline,
    pub(crate) cpu: CpuBudget,
    /// Outgoing calls under way with their tickets, so that a call that is cut off still says what left.
    pub(crate) outgoing: Vec<(u64, Evidence)>,
    wasi: WasiCtx,
    resources: ResourceTable,
}

impl<C: HostCalls> State<C> {
    pub(crate) fn new(rights: Arc<Rights>, bounds: &Bounds) -> State<C> {
        let output = Output::default();
        let wasi = WasiCtx::builder()
            .stdout(output.clone())
            .stderr(output.clone())
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES_MAX);
        State {
            active: None,
            calls: Vec::new(),
            claims: VecDeque::new(),
            rights,
            memory: MemoryLimit::new(bounds.memory_bytes),
            output,
            log: LogBudget::default(),
            deadline: Deadline::default(),
            cpu: CpuBudget::new(bounds.cpu),
            outgoing: Vec::new(),
            wasi,
            resources,
        }
    }

    /// Refills the budgets; what follows is one attempt.
    pub(crate) fn refill(&mut self) {
        self.cpu.refill();
        self.log = LogBudget::default();
    }

    /// What the guest wrote to stdout and stderr in this call, and how many log lines were dropped, to the log.
    pub(crate) fn report_output(&mut self) {
        let (plugin, subscription) = (self.rights.plugin.as_str(), &*self.rights.subscription);
        if let Some(text) = self.output.take() {
            tracing::info!(target: "plugin", plugin, subscription, output = true, "{text}");
        }
        if self.log.dropped > 0 {
            let dropped = self.log.dropped;
            tracing::warn!(target: "plugin", plugin, subscription, dropped, "the plugin logged more than its bound");
        }
    }

    /// Called by wasmtime when the guest has run into the next tick: it may go on, after others had their turn, or stops.
    pub(crate) fn tick(&self) -> UpdateDeadline {
        if self.cpu.tick() {
            UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
        } else {
            UpdateDeadline::Interrupt
        }
    }
}

impl<C: HostCalls> State<C> {
    /// A call starts, for these deliveries.
    pub(crate) fn begin(&mut self, calls: &mut Vec<C>) {
        self.refill();
        self.outgoing.clear();
        self.claims.clear();
        self.calls.append(calls);
    }

    /// The delivery of the call under way, if it is a single one.
    pub(crate) fn current(&self) -> Option<&C> {
        match self.calls.as_slice() {
            [call] => Some(call),
            _ => None,
        }
    }

    /// The call is over; outgoing calls that were cut off are reported by what they left behind.
    pub(crate) async fn end_outgoing(&mut self) {
        for (ticket, evidence) in std::mem::take(&mut self.outgoing) {
            // Nobody is left to be told the answer; the core keeps the evidence.
            drop(self.ask(ticket, Import::EgressEnd(evidence.cut_off())).await);
        }
    }

    /// The deliveries of the call, to be finished.
    pub(crate) fn end(&mut self) -> std::vec::Drain<'_, C> {
        self.calls.drain(..)
    }

    /// Takes a delivery out of the call for a while, with its place.
    pub(crate) fn lend(&mut self, ticket: u64) -> Option<(usize, C)> {
        let nth = self.calls.iter().position(|call| call.delivery().ticket.0 == ticket)?;
        Some((nth, self.calls.remove(nth)))
    }

    /// Puts it back in its place.
    pub(crate) fn give_back(&mut self, nth: usize, call: C) {
        self.calls.insert(nth.min(self.calls.len()), call);
    }

    /// The delivery that this ticket belongs to.
    pub(crate) fn live(&mut self, ticket: u64) -> Result<&mut C, Error> {
        self.calls
            .iter_mut()
            .find(|call| call.delivery().ticket.0 == ticket)
            .ok_or_else(|| error(Code::Stale, "this ticket is not live in this call; use the one of the delivery"))
    }

    /// An import that takes a ticket.
    pub(crate) async fn ask(&mut self, ticket: u64, import: Import) -> Result<Reply, Error> {
        self.live(ticket)?.import(import).await.map_err(from_core)
    }

    /// An import that belongs to no delivery in particular: to the first one that has no verdict.
    pub(crate) async fn ask_any(&mut self, import: Import) -> Result<Reply, Error> {
        let open = self.calls.iter().position(|call| !call.is_settled()).unwrap_or(0);
        self.ask_nth(open, import).await
    }

    /// An import that belongs to the delivery that opened this claim.
    pub(crate) async fn ask_claimant(&mut self, claim: u64, import: Import) -> Result<Reply, Error> {
        let ticket = self.claims.iter().rev().find(|(id, _)| *id == claim).map(|(_, ticket)| *ticket);
        let is_its = |call: &C| ticket == Some(call.delivery().ticket.0);
        // The core refuses a claim that was not opened by this delivery.
        let nth = self.calls.iter().position(is_its).unwrap_or(0);
        self.ask_nth(nth, import).await
    }

    async fn ask_nth(&mut self, nth: usize, import: Import) -> Result<Reply, Error> {
        let Some(call) = self.calls.get_mut(nth) else {
            return Err(error(Code::Stale, "there is no delivery here; this function works in a handler only"));
        };
        call.import(import).await.map_err(from_core)
    }

    /// A delivery opened a claim.
    pub(crate) fn claimed(&mut self, ticket: u64, claim: u64) {
        if self.calls.len() > 1 {
            self.claims.push_back((claim, ticket));
        }
        if self.claims.len() > CLAIMS_KNOWN_MAX {
            self.claims.pop_front();
        }
    }

    /// Time until the attempt is cut off.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.at().saturating_duration_since(Instant::now())
    }

    /// Time that an outgoing call may take: a little less, so that the guest still can say what it makes of a time-out.
    pub(crate) fn time_for_outgoing(&self) -> Duration {
        self.time_left().saturating_sub(LAST_WORDS)
    }

    /// An outgoing call may start; `Err` if the core says no.
    pub(crate) async fn egress_start(&mut self, ticket: u64) -> Result<Evidence, Error> {
        self.ask(ticket, Import::EgressStart).await?;
        let evidence = Evidence::new();
        self.outgoing.push((ticket, evidence.clone()));
        for other in self.other_claimants(ticket) {
            if self.ask(other, Import::EgressStart).await.is_ok() {
                self.outgoing.push((other, evidence.clone()));
            }
        }
        Ok(evidence)
    }

    /// Deliveries of the call that have opened claims too: the host cannot tell whose effect a request is, so its evidence is about
    /// each of them.
    fn other_claimants(&self, ticket: u64) -> Vec<u64> {
        let mut others: Vec<u64> = self.claims.iter().map(|(_, claimant)| *claimant).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|other| *other != ticket);
        others
    }

    /// All outgoing calls have ended.
    pub(crate) async fn egress_end(&mut self) {
        let ends: Vec<(u64, Sent)> =
            self.outgoing.iter().map(|(ticket, evidence)| (*ticket, evidence.sent())).collect();
        for (ticket, sent) in ends {
            // A refusal changes nothing for the guest: it has its answer from the other side.
            drop(self.ask(ticket, Import::EgressEnd(sent)).await);
            self.outgoing.remove(0);
        }
    }
}

impl<C: HostCalls> WasiView for State<C> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}
