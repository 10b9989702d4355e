//! `bugle explain`.

use anyhow::bail;
use bugle_core::ids::Position;
use clap::Args;

use super::admin::query;
use super::{Context, print};
use crate::api::{EventHead, ExplainView, ExplanationView, ScheduledView};

/// What shall be explained.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A position such as 0-1234, or an ordering key
    #[arg(value_name = "EVENT|KEY")]
    what: Option<String>,
    /// An ordering key, even one that looks like a position
    #[arg(long, conflicts_with_all = ["what", "topic", "source", "id"])]
    key: Option<String>,
    /// Topic of the event, with --source and --id
    #[arg(long, requires = "source", requires = "id", conflicts_with = "what")]
    topic: Option<String>,
    /// CloudEvents source
    #[arg(long, requires = "topic")]
    source: Option<String>,
    /// CloudEvents id
    #[arg(long, requires = "topic")]
    id: Option<String>,
    /// Only in this subscription
    #[arg(long)]
    subscription: Option<String>,
}

pub(super) fn run(context: &Context, args: ExplainArgs) -> anyhow::Result<()> {
    if args.what.is_none() && args.key.is_none() && args.topic.is_none() {
        bail!("say which event or key: a position, an ordering key, or --topic, --source and --id");
    }
    let (event, key) = match args.what {
        Some(what) if what.parse::<Position>().is_ok() => (Some(what), None),
        Some(what) => (None, Some(what)),
        None => (None, args.key),
    };
    let parameters = query(&[
        ("event", event.as_deref()),
        ("key", key.as_deref()),
        ("topic", args.topic.as_deref()),
        ("source", args.source.as_deref()),
        ("id", args.id.as_deref()),
        ("subscription", args.subscription.as_deref()),
    ]);
    let view: ExplainView = context.admin()?.get(&format!("/v1/explain{parameters}"))?;
    if context.json {
        return print::json(&view);
    }
    print::text(&picture(&view))
}

/// The whole answer as text.
fn picture(view: &ExplainView) -> String {
    let mut out = view.event.as_ref().map(title).unwrap_or_default();
    if let Some(key) = &view.key {
        out.push_str(&format!("key `{key}`\n"));
        if view.subscriptions.is_empty() {
            out.push_str("\nno subscription has anything of this key that is read and not settled\n");
        }
    } else if let Some(scheduled) = view.event.as_ref().and_then(|event| event.scheduled.as_ref()) {
        out.push_str(&format!("scheduled: {}\n", told(scheduled)));
    } else if view.subscriptions.is_empty() {
        out.push_str("\nthere is no subscription\n");
    }
    for explanation in &view.subscriptions {
        out.push('\n');
        out.push_str(&paragraph(explanation));
    }
    out
}

fn title(head: &EventHead) -> String {
    let key = head.key.as_ref().map(|key| format!(", key `{key}`")).unwrap_or_default();
    let mut out = format!(
        "{} `{}` in topic `{}`, source `{}`, id `{}`{key}, {}\nreceived {}\n",
        head.position, head.kind, head.topic, head.source, head.id, head.class, head.received
    );
    if let Some(at) = &head.expires {
        out.push_str(&format!("expires {at}\n"));
    }
    if let Some(original) = &head.released_from {
        out.push_str(&format!("released copy of the scheduled event {original}\n"));
    }
    out
}

/// What became of a scheduled event; its copy, if there is one, is what the subscriptions below have.
fn told(scheduled: &ScheduledView) -> String {
    let at = scheduled.ended_at.as_deref().unwrap_or("-");
    match (scheduled.state.as_str(), &scheduled.copy) {
        ("waiting", _) => format!("it waits until {}; no subscription gets it before", scheduled.due),
        ("released", Some(copy)) => format!("it was due {} and released {at}; its copy is {copy}:", scheduled.due),
        (state, _) => {
            let by = scheduled.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            format!("it was due {}; {state} {at}{by}", scheduled.due)
        }
    }
}

fn paragraph(explanation: &ExplanationView) -> String {
    let class = explanation.class.as_ref().map(|class| format!(" ({class})")).unwrap_or_default();
    let mut out = format!("{}{class}: {}\n", explanation.subscription, explanation.state);
    for (index, why) in explanation.why.iter().enumerate() {
        let label = if index == 0 { "why" } else { "" };
        out.push_str(&format!("  {label:<6}{why}\n"));
    }
    for (label, value) in [("since", &explanation.since), ("until", &explanation.until)] {
        if let Some(value) = value {
            out.push_str(&format!("  {label:<6}{value}\n"));
        }
    }
    out.push_str(&format!("  {:<6}{}\n", "next", explanation.next));
    out
}

#[cfg(test)]
mod tests {
    use super::{ExplainView, ExplanationView, picture};

    #[test]
    fn a_picture_has_a_paragraph_for_each_subscription() {
        let waiting = ExplanationView {
            subscription: "mail".into(),
            state: "waiting".into(),
            why: vec!["attempt 1 failed".into(), "it is paused".into()],
            next: "attempt 2 starts in 6 s".into(),
            until: Some("2026-11-21T10:15:00Z".into()),
            ..ExplanationView::default()
        };
        let view = ExplainView { key: Some("k".into()), subscriptions: vec![waiting], ..ExplainView::default() };
        let expected = "key `k`\n\nmail: waiting\n  why   attempt 1 failed\n        it is paused\n  \
                        until 2026-11-21T10:15:00Z\n  next  attempt 2 starts in 6 s\n";
        assert_eq!(picture(&view), expected);
        let none = ExplainView { key: Some("k".into()), ..ExplainView::default() };
        assert!(picture(&none).contains("no subscription has anything"), "{}", picture(&none));
    }
}
