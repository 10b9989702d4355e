//! `bugle topic`.

use anyhow::bail;
use clap::Subcommand;

use super::admin::{escape, query};
use super::retention::{log, pinned};
use super::{Context, print};
use crate::api::{NewTopic, SetTopic, TopicView};

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic; one that exists is left as it is
    #[command(after_help = "Examples:\n  bugle topic create orders\n  bugle topic create clicks --retention short")]
    Create {
        /// Its name
        name: String,
        /// How long its events are kept [default: default]
        #[arg(long)]
        retention: Option<String>,
    },
    /// Change a topic, for events from now on
    #[command(after_help = "Example:\n  bugle topic set clicks --retention short")]
    Set {
        /// Its name
        name: String,
        /// How long its events are kept
        #[arg(long)]
        retention: String,
    },
    /// Delete a topic that no subscription covers; its events go by the retention they were stored under
    #[command(after_help = "Example:\n  bugle topic delete clicks --yes")]
    Delete {
        /// Its name
        name: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// List topics
    #[command(after_help = "Example:\n  bugle topic list --all --json")]
    List {
        /// Private topics of subscriptions too
        #[arg(long)]
        all: bool,
    },
    /// Show a topic
    #[command(after_help = "Example:\n  bugle topic show orders")]
    Show {
        /// Its name
        name: String,
    },
}

pub(super) fn run(context: &Context, command: TopicCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        TopicCommand::Create { name, retention } => {
            let topic: TopicView = admin.post("/v1/topics", &NewTopic { name, retention })?;
            show(context, &topic)
        }
        TopicCommand::Set { name, retention } => {
            let path = format!("/v1/topics/{}", escape(&name));
            let topic: TopicView = admin.put(&path, &SetTopic { retention })?;
            show(context, &topic)
        }
        TopicCommand::Delete { name, yes } => {
            if !yes {
                bail!(
                    "deleting `{name}` takes its name away: publishing to it is refused, and nobody can read its events any more; \
                     add --yes to do it"
                );
            }
            let deleted: serde_json::Value = admin.delete(&format!("/v1/topics/{}", escape(&name)))?;
            if context.json {
                return print::json(&deleted);
            }
            print::line(&format!("deleted `{name}`"))
        }
        TopicCommand::Show { name } => {
            let topic: TopicView = admin.get(&format!("/v1/topics/{}", escape(&name)))?;
            show(context, &topic)
        }
        TopicCommand::List { all } => {
            let path = format!("/v1/topics{}", query(&[("all", all.then_some("true"))]));
            let topics: Vec<TopicView> = admin.get(&path)?;
            if context.json {
                return print::json(&topics);
            }
            let row = |topic: &TopicView| {
                vec![
                    topic.name.clone(),
                    topic.kept.retention.clone(),
                    topic.scheduled.waiting.to_string(),
                    topic.subscriptions.join(", "),
                ]
            };
            let rows: Vec<_> = topics.iter().map(row).collect();
            print::table(
                &["TOPIC", "RETENTION", "SCHEDULED", "SUBSCRIPTIONS"],
                &rows,
                "no topics yet; make one with `bugle topic create NAME`",
            )
        }
    }
}

fn show(context: &Context, topic: &TopicView) -> anyhow::Result<()> {
    if context.json {
        return print::json(topic);
    }
    print::pairs(&[
        ("topic", topic.name.clone()),
        ("number", topic.id.to_string()),
        ("subscriptions", topic.subscriptions.join(", ")),
        (
            "scheduled",
            format!(
                "{} wait, {} released and {} cancelled so far",
                topic.scheduled.waiting, topic.scheduled.released, topic.scheduled.cancelled
            ),
        ),
        ("retention", topic.kept.retention.clone()),
        ("kept from", topic.kept.from.clone()),
        ("log", format!("{}, all topics of that retention", log(&topic.kept))),
        ("kept longer for", pinned(&topic.kept)),
    ])
}
