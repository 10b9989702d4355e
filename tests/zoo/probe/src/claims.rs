//! Claims: confirmed, released, left open, crashed over, and lied about.

use crate::{Given, Tried, tell};
use bugle_plugin::prelude::*;
use bugle_plugin::raw::bugle::plugin::dedup::{self, OpenClaim, Outcome as Claimed, Strength};

pub(crate) fn run(kind: &str, cx: &Cx, _: &Event<Value>, given: &Given<'_>) -> Tried {
    if kind == "paid" {
        return Some(paid(cx, given));
    }
    let key = given.text("key", cx.idempotency_key());
    let receipt = given.optional("receipt").map(str::as_bytes);
    let strength = if kind == "claim-weak" { Strength::Weak } else { Strength::Strong };
    if !kind.starts_with("claim-") {
        return None;
    }
    let keep = given.optional_time("keep").map(|keep| keep.as_millis() as u64);
    let claim = match dedup::claim(cx.ticket(), key, strength, keep) {
        Ok(Claimed::Claimed(claim)) => claim,
        Ok(Claimed::Done(receipt)) => {
            let receipt = receipt.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            return Some(reject(format!("done {receipt:?}")));
        }
        Ok(Claimed::Busy(time)) => return Some(retry(Duration::from_millis(time), "busy")),
        Err(error) => return Some(tell::<()>(Err(error))),
    };
    info!(uncertain = claim.uncertain; "claimed");
    act(kind, cx, given, claim, receipt)
}

/// The counter of a flash sale: each order counts once, whatever comes twice. Nothing leaves the host, so doing it again after a crash
/// before the confirm is harmless.
fn paid(cx: &Cx, given: &Given<'_>) -> Outcome {
    let claim = cx.claim::<Value>(given.text("order", cx.idempotency_key())).resend_uncertain();
    let cents = i64::try_from(given.number("cents", 0)).unwrap_or(i64::MAX);
    let counted = claim.run(|| {
        cx.kv().add("gmv/orders", 1, None)?;
        cx.kv().add("gmv/cents", cents, None)?;
        Ok(Value::Null)
    });
    counted.map(drop)
}

fn act(kind: &str, cx: &Cx, given: &Given<'_>, claim: OpenClaim, receipt: Option<&[u8]>) -> Tried {
    let id = claim.id;
    Some(match kind {
        "claim-confirm" | "claim-weak" => tell(dedup::confirm(id, receipt)),
        "claim-uncertain" => reject(format!("uncertain {}", claim.uncertain)),
        "claim-release" => tell(dedup::release(id)),
        "claim-leave" => Ok(()),
        "claim-unknown" => unknown("reference-1"),
        "claim-trap" => panic!("with an open claim"),
        "claim-confirm-then-trap" => {
            info!("confirm {:?}", dedup::confirm(id, receipt));
            panic!("after the confirm");
        }
        "claim-kv-confirm-retry" => {
            let put = cx.kv().add(given.text("counter", "confirmed"), 1, None);
            info!("add {put:?} confirm {:?}", dedup::confirm(id, receipt));
            retry(None, "after the confirm")
        }
        "claim-kv-release" => {
            info!("put {:?} release {:?}", cx.kv().put("released", b"1", None), dedup::release(id));
            Ok(())
        }
        "claim-confirm-twice" => {
            info!("first {:?}", dedup::confirm(id, receipt));
            tell(dedup::confirm(id, receipt))
        }
        "claim-confirm-other" => tell(dedup::confirm(id.wrapping_add(1), receipt)),
        "claim-release-other" => tell(dedup::release(id.wrapping_add(1))),
        "claim-again" => {
            tell(dedup::claim(cx.ticket(), given.text("key", cx.idempotency_key()), Strength::Strong, None))
        }
        "claim-many" => {
            let claim = |n| dedup::claim(cx.ticket(), &format!("many-{n}"), Strength::Weak, None);
            tell((0..given.number("count", 100)).map(claim).collect::<Result<Vec<_>, _>>().map(|all| all.len()))
        }
        _ => return None,
    })
}
