//! `bugle topic`.

use clap::Subcommand;

use super::admin::{escape, query};
use super::{Context, print};
use crate::api::{KeptView, NewTopic, TopicView};

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic; one that exists is left as it is
    #[command(after_help = "Example:\n  bugle topic create orders")]
    Create {
        /// Its name
        name: String,
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
        TopicCommand::Create { name } => {
            let topic: TopicView = admin.post("/v1/topics", &NewTopic { name })?;
            show(context, &topic)
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
                vec![topic.name.clone(), topic.scheduled.waiting.to_string(), topic.subscriptions.join(", ")]
            };
            let rows: Vec<_> = topics.iter().map(row).collect();
            print::table(
                &["TOPIC", "SCHEDULED", "SUBSCRIPTIONS"],
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
        ("kept from", topic.kept.from.clone()),
        ("log", format!("{} bytes in {} epochs, all topics together", topic.kept.bytes, topic.kept.epochs)),
        ("kept longer for", pinned(&topic.kept)),
    ])
}

/// Who keeps more of the log than its retention asks for.
fn pinned(kept: &KeptView) -> String {
    match &kept.pinned_by {
        None => "nobody".to_owned(),
        Some(name) => format!("subscription {name}, which has not settled it: about {} bytes", kept.pinned_bytes),
    }
}
