//! The probe: a channel that does what the event's type says, so that a test can drive a host from inside.
//!
//! README.md lists the types. What a host function answered is told by the verdict: an error becomes
//! `reject` with `code: message`, a value goes to the log.

mod claims;
mod given;
mod hostile;
mod outside;
mod settle;
mod store;

use bugle_plugin::prelude::*;
use given::Given;

#[channel(check = check, reconcile = asked, inbound = told, timer = fired)]
fn probe(cx: &Cx, event: Event<Value>) -> Outcome {
    let given = Given::new(event.body());
    let kind = event.kind();
    let families = [settle::run, claims::run, store::run, outside::run, hostile::run];
    families
        .iter()
        .find_map(|run| run(kind, cx, &event, &given))
        .unwrap_or_else(|| reject(format!("the probe knows no `{kind}`")))
}

/// One family of behaviours: none if the type is not one of its own.
type Tried = Option<Outcome>;

/// What the event's field `ask` says; by default it asks `/sent/<idempotency key>` under the setting `url`.
fn asked(cx: &Cx, event: &Event<Value>, doubt: &Doubt) -> Result<Found<Value>, Failure> {
    let given = Given::new(event.body());
    info!("asked about {} after `{}`", doubt.key(), doubt.reference());
    match given.text("ask", "provider") {
        "provider" => {}
        "trap" => panic!("asked to trap"),
        "spin" => hostile::spin(),
        "sleep" => std::thread::sleep(Duration::from_secs(60)),
        "kv" => {
            cx.kv().put("asked", b"yes", None)?;
            return Ok(Found::NotDone);
        }
        "claim" => return cx.once("another", || Ok(())).map(|()| Found::NotDone),
        "huge" => return Ok(Found::Done(Value::String("x".repeat(8_000)))),
        _ => return Ok(Found::Unclear),
    }
    let reply = cx.get(&format!("/sent/{}", cx.idempotency_key())).send()?;
    match reply.status() {
        200 => Ok(Found::Done(Value::Null)),
        404 => Ok(Found::NotDone),
        status => retry(None, format!("the provider says {status}")),
    }
}

/// Counts itself under `fired/NAME`, and does what the timer's data says: `ok`, `trap`, `retry-once`, `reject`, or `again`, which sets it once more.
fn fired(cx: &Cx, timer: Timer) -> Outcome {
    let (kv, name) = (cx.kv(), timer.name());
    kv.add(&format!("fired/{name}"), 1, None)?;
    kv.put(&format!("data/{name}"), timer.data(), None)?;
    kv.put(&format!("at/{name}"), unix_ms(cx.now()).as_bytes(), None)?;
    match timer.data() {
        b"trap" => panic!("a timer said trap"),
        b"retry-once" if cx.attempt() == 1 => retry(None, "once more"),
        b"reject" => reject("the timer says so"),
        b"again" => Ok(cx.set_timer_in(name, Duration::ZERO, b"ok")?),
        _ => Ok(()),
    }
}

fn unix_ms(time: std::time::SystemTime) -> String {
    time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis().to_string()
}

/// What the callback's JSON says: field `do`, and `changes` as `[reference, status, recipient or null, time or null]`. `x-key` is all of a signature.
fn told(callback: &Callback) -> Result<Vec<Status>, String> {
    if callback.header("x-key") != Some("good") {
        return Err(format!("the key of {} {} is wrong", callback.method(), callback.path()));
    }
    let body: Value = if callback.body().is_empty() { Value::Null } else { callback.json()? };
    match body["do"].as_str().unwrap_or("tell") {
        "trap" => panic!("a callback said trap"),
        "spin" => hostile::spin(),
        "sleep" => std::thread::sleep(Duration::from_secs(60)),
        "flood" => return Ok(vec![Status::delivered("r"); 1001]),
        "ticket" => {
            let answer = bugle_plugin::raw::bugle::plugin::kv::get(1, "secret");
            return Err(format!("kv answered {:?}", answer.map_err(|error| error.code)));
        }
        "show" => return Err(format!("{} {:?} {:?}", callback.path(), callback.query(), callback.header("host"))),
        _ => {}
    }
    let status = |change: &Value| {
        let text = |index: usize| change[index].as_str().unwrap_or_default().to_owned();
        let mut status = Status::new(text(0), &text(1));
        if change[2].is_string() {
            status = status.recipient(text(2));
        }
        if let Some(at) = change[3].as_u64() {
            status = status.at(std::time::UNIX_EPOCH + Duration::from_millis(at));
        }
        status
    };
    Ok(body["changes"].as_array().into_iter().flatten().map(status).collect())
}

fn check(config: &Config) -> Result<(), String> {
    match config.get_or("check", "ok".to_owned()).map_err(|error| error.to_string())?.as_str() {
        "ok" => Ok(()),
        "fail" => Err("the config says fail".to_owned()),
        "trap" => panic!("the config says trap"),
        "spin" => hostile::spin(),
        other => Err(format!("`{other}` is none of ok, fail, trap and spin")),
    }
}

/// Tell what the host answered.
fn tell<T: std::fmt::Debug>(answer: Result<T, impl Into<HostError>>) -> Outcome {
    match answer {
        Ok(value) => {
            info!("answered {value:?}");
            Ok(())
        }
        Err(error) => reject(error.into().to_string()),
    }
}
