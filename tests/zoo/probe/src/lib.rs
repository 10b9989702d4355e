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

#[channel(check = check)]
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
