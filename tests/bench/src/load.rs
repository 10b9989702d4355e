//! The load: producers that keep a number of events in flight, each with its own connection.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Result, bail};
use bugle_client::{Client, Event, Outcome, PendingReceipt};
use hdrhistogram::Histogram;

/// Events of one producer in flight, as in the benchmark suite.
pub(crate) const IN_FLIGHT: usize = 512;
/// Producers, as in the benchmark suite.
pub(crate) const PRODUCERS: usize = 8;
/// Latency is taken of every n-th event, so that taking it costs nothing.
const SAMPLE_EVERY: u64 = 64;

/// What one producer saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) confirmed: u64,
    pub(crate) latency_us: Histogram<u64>,
}

impl Seen {
    pub(crate) fn new() -> Result<Seen> {
        Ok(Seen { confirmed: 0, latency_us: Histogram::new_with_bounds(1, 60_000_000, 3)? })
    }

    pub(crate) fn merge(&mut self, other: &Seen) -> Result<()> {
        self.confirmed += other.confirmed;
        self.latency_us.add(&other.latency_us)?;
        Ok(())
    }
}

/// A payload that compresses to about a half: one half repeats, the other is a sequence of a small generator.
pub(crate) fn payload(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..bytes)
        .map(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if at % 2 == 0 { b'a' } else { (state >> 56) as u8 }
        })
        .collect()
}

/// Publishes until `more` says no, with [`IN_FLIGHT`] in flight; every event must be confirmed.
pub(crate) async fn produce(
    client: &Client,
    kind: &str,
    bytes: usize,
    mut more: impl FnMut(u64) -> bool,
) -> Result<Seen> {
    let mut seen = Seen::new()?;
    let mut waiting: VecDeque<(Instant, PendingReceipt)> = VecDeque::with_capacity(IN_FLIGHT);
    let data = payload(bytes, 42);
    let mut sent = 0;
    while more(sent) {
        if waiting.len() >= IN_FLIGHT {
            settle(&mut seen, waiting.pop_front()).await?;
        }
        let event = Event::builder("/bench", kind).binary(&data).build()?;
        waiting.push_back((Instant::now(), client.send("bench", event).await));
        sent += 1;
    }
    while !waiting.is_empty() {
        settle(&mut seen, waiting.pop_front()).await?;
    }
    Ok(seen)
}

async fn settle(seen: &mut Seen, waiting: Option<(Instant, PendingReceipt)>) -> Result<()> {
    let Some((since, receipt)) = waiting else { return Ok(()) };
    match receipt.await {
        Outcome::Confirmed(_) => {}
        other => bail!("an event was not confirmed: {other:?}"),
    }
    seen.confirmed += 1;
    if seen.confirmed.is_multiple_of(SAMPLE_EVERY) {
        seen.latency_us.saturating_record(since.elapsed().as_micros() as u64);
    }
    Ok(())
}
