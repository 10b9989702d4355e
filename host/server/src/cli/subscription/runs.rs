//! `bugle subscription drain` and `seek`, and the lines of `show` that tell of them.

use anyhow::bail;
use bugle_core::time::Millis;

use super::super::admin::AdminClient;
use super::super::{Context, print};
use super::{path, show};
use crate::api::{BoostRequest, DrainView, SeekRequest, SeekView, SubscriptionStatus, SubscriptionView};
use crate::definition::Start;
use crate::moment;

pub(super) fn drain(context: &Context, admin: &AdminClient, name: &str, boost: Option<u32>) -> anyhow::Result<()> {
    let path = path(name);
    let view: SubscriptionView = match boost {
        None => admin.post(&format!("{path}/drain"), &serde_json::json!({}))?,
        Some(factor) => admin.post(&format!("{path}/boost"), &BoostRequest { factor })?,
    };
    show(context, &view)
}

pub(super) fn seek(context: &Context, admin: &AdminClient, name: &str, to: Start, yes: bool) -> anyhow::Result<()> {
    let path = format!("{}/seek", path(name));
    let ask = |confirm| SeekRequest { to: to.to_string(), confirm };
    let planned: SeekView = admin.post(&path, &ask(false))?;
    let told = sentence(name, &planned);
    if planned.direction == "none" {
        return if context.json { print::json(&planned) } else { print::line(&told) };
    }
    if !yes {
        bail!("{told}; add --yes to do that");
    }
    let done: SeekView = admin.post(&path, &ask(true))?;
    if context.json { print::json(&done) } else { print::line(&sentence(name, &done)) }
}

fn sentence(name: &str, view: &SeekView) -> String {
    let count = if view.is_cut { format!("{} and more", view.events) } else { view.events.to_string() };
    let does = if view.done { "went" } else { "would go" };
    let (from, to) = (&view.from, &view.to);
    match view.direction.as_str() {
        "forward" => {
            format!("`{name}` {does} forward from {from} to {to}: {count} events up to there are let go undelivered")
        }
        "back" => format!("`{name}` {does} back from {from} to {to}: {count} events from there on are delivered again"),
        _ => format!("`{name}` is at {to} already"),
    }
}

/// How much is left and how long it takes, as one line.
pub(in crate::cli) fn left(drain: &DrainView) -> String {
    let pace = format!("{:.1}/s settled, {:.1}/s arriving", drain.settled_per_s, drain.arriving_per_s);
    match drain.done_in_s {
        Some(0) if drain.left == 0 => "nothing".to_owned(),
        Some(seconds) => {
            format!("at most {} ({pace}): done in {}", drain.left, moment::span(Millis::from_secs(seconds)))
        }
        None if drain.settled_per_s > 0.0 => format!("at most {} ({pace}): it does not shrink", drain.left),
        None => format!("at most {} ({pace})", drain.left),
    }
}

/// The time left as one word for a table.
pub(in crate::cli) fn done_in(drain: &DrainView) -> String {
    match drain.done_in_s {
        Some(0) => "-".to_owned(),
        Some(seconds) => moment::span(Millis::from_secs(seconds)),
        None => "?".to_owned(),
    }
}

/// What `status` says of a backlog that needs a person.
pub(in crate::cli) fn alarms(name: &str, status: &SubscriptionStatus) -> Vec<String> {
    let mut told = Vec::new();
    if status.is_backlog_full {
        told.push(format!("! {name}: its backlog is over the cap, publishing to its topics is refused"));
    }
    if status.expired > 0 {
        told.push(format!("! {name}: {} events expired undelivered, its backlog was over the cap", status.expired));
    }
    told
}

/// What `show` says beside the usual.
pub(super) fn lines(view: &SubscriptionView) -> Vec<(&'static str, String)> {
    let mut lines = vec![("left", left(&view.drain))];
    if let Some(to) = &view.drain_to {
        lines.push(("drains", format!("reads nothing from {to} on, then pauses")));
    }
    if let Some(factor) = view.boost {
        lines.push(("boost", format!("{factor} times, {} places, until it has caught up", view.places)));
    }
    if view.status.is_backlog_full {
        lines.push(("backlog cap", "reached: publishing to its topics is refused".to_owned()));
    }
    if view.status.expired_deliveries > 0 {
        lines.push(("expired", format!("{} deliveries since the start", view.status.expired_deliveries)));
    }
    if let Some(row) = &view.let_go {
        let (why, at) = (&row.why, &row.at);
        let run = format!("{} events from {} to {} {why} at {at}", row.events, row.from, row.to);
        lines.push(("let go", format!("{} in all; last {run}", row.total)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_with_its_pace() {
        let drain = |left, settled_per_s, done_in_s| DrainView { left, settled_per_s, arriving_per_s: 2.0, done_in_s };
        assert_eq!(left(&drain(0, 5.0, Some(0))), "nothing");
        assert_eq!(left(&drain(90, 5.0, Some(30))), "at most 90 (5.0/s settled, 2.0/s arriving): done in 30 s");
        assert!(left(&drain(90, 1.0, None)).ends_with("it does not shrink"));
        assert!(left(&drain(90, 0.0, None)).ends_with("arriving)"));
        assert_eq!([done_in(&drain(0, 1.0, Some(0))), done_in(&drain(9, 0.0, None))], ["-", "?"]);
    }

    #[test]
    fn a_seek_says_what_it_does_to_how_many() {
        let view = |direction: &str, is_cut, done| SeekView {
            direction: direction.into(),
            from: "0-5".into(),
            to: "0-9".into(),
            events: 4,
            is_cut,
            done,
        };
        let forward = sentence("mail", &view("forward", false, false));
        assert!(forward.contains("would go forward from 0-5 to 0-9: 4 events") && forward.contains("undelivered"));
        let back = sentence("mail", &view("back", true, true));
        assert!(back.contains("went back") && back.contains("4 and more events") && back.contains("again"), "{back}");
        assert_eq!(sentence("mail", &view("none", false, false)), "`mail` is at 0-9 already");
    }
}
