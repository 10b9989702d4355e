//! Takes several events per call and does with each what its type says; see tests/zoo/README.md.
//!
//! What it did is in its kv store: `done/<id>` tells the attempt and how many shared the call. Invariant: events are handled in the
//! order of the call, so that those before one that traps are known.

use bugle_plugin::prelude::*;
use bugle_plugin::raw::batch::exports::bugle::plugin::batch_handler;
use bugle_plugin::raw::bugle::plugin::types;
use bugle_plugin::raw::exports::bugle::plugin::lifecycle;
use bugle_plugin::raw::timing::exports::bugle::plugin::timer_handler;

/// Exported by hand: what the SDK makes of a function never returns a list of another length.
struct Exported;

impl batch_handler::Guest for Exported {
    fn handle_batch(deliveries: Vec<types::Delivery>) -> Vec<Result<(), types::Failure>> {
        let is_short = deliveries.len() > 1 && deliveries.iter().any(|delivery| delivery.event.kind == "short");
        let mut results = bugle_plugin::handle_batch(deliveries, batch);
        if is_short {
            results.pop();
        }
        results
    }
}

impl timer_handler::Guest for Exported {
    fn fire(ticket: u64, name: String, data: Vec<u8>) -> Result<(), types::Failure> {
        bugle_plugin::fire(ticket, name, data, |cx, timer| {
            Ok(cx.kv().add(&format!("fired/{}", timer.name()), 1, None)?)
        })
    }
}

impl lifecycle::Guest for Exported {
    fn check() -> Result<(), String> {
        Ok(())
    }
}

bugle_plugin::raw::batch::export_batch_handler!(Exported with_types_in bugle_plugin::raw::batch);
bugle_plugin::raw::timing::export_timer_handler!(Exported with_types_in bugle_plugin::raw::timing);
bugle_plugin::raw::export_lifecycle!(Exported with_types_in bugle_plugin::raw);

#[allow(unsafe_code, reason = "where the manifest goes")]
#[unsafe(link_section = "bugle:plugin")]
static MANIFEST: [u8; include_bytes!("../plugin.toml").len()] = *include_bytes!("../plugin.toml");

fn batch(batch: &[Delivery<Value>]) -> Vec<Outcome> {
    batch.iter().map(|delivery| handle(delivery, batch.len())).collect()
}

fn handle(delivery: &Delivery<Value>, shared_by: usize) -> Outcome {
    let Delivery { cx, event } = delivery;
    let is_alone = shared_by == 1;
    match event.kind() {
        "ack" => {
            note(delivery, shared_by)?;
            cx.ack()?;
            return Ok(());
        }
        "ack-late" => {
            cx.ack()?;
            // Too late: it must not be there.
            return note(delivery, shared_by).or(Ok(()));
        }
        "retry-once" if cx.attempt() == 1 => return retry(Duration::from_millis(1), "first"),
        "timer" => cx.set_timer_in(event.id(), Duration::ZERO, b"")?,
        "reject" => return reject("as asked"),
        "trap" => panic!("trapped as asked"),
        "trap-together" if !is_alone => panic!("trapped as asked beside {} others", shared_by - 1),
        "spin-together" if !is_alone => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
    note(delivery, shared_by)
}

fn note(delivery: &Delivery<Value>, shared_by: usize) -> Outcome {
    let Delivery { cx, event } = delivery;
    let text = format!("attempt {} of {shared_by}", cx.attempt());
    cx.kv().put(&format!("done/{}", event.id()), text.as_bytes(), None)?;
    cx.kv().add(&format!("times/{}", event.id()), 1, None)?;
    if let Some(key) = event.key() {
        let name = format!("order/{key}");
        let before = cx.kv().get(&name)?.map(|entry| entry.value).unwrap_or_default();
        let line = format!("{} {}", String::from_utf8_lossy(&before), event.id());
        cx.kv().put(&name, line.trim_start().as_bytes(), None)?;
    }
    Ok(())
}
