//! `bugle query`.

use clap::Args;

use super::admin::{escape, query};
use super::{Context, print};
use crate::api::IdView;

/// Which event id.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// Topic
    topic: String,
    /// CloudEvents source
    #[arg(long)]
    source: String,
    /// CloudEvents id
    #[arg(long)]
    id: String,
}

pub(super) fn run(context: &Context, args: QueryArgs) -> anyhow::Result<()> {
    let parameters = query(&[("source", Some(&args.source)), ("id", Some(&args.id))]);
    let path = format!("/v1/topics/{}/ids{parameters}", escape(&args.topic));
    let answer: IdView = context.admin()?.get(&path)?;
    if context.json {
        return print::json(&answer);
    }
    match &answer.position {
        Some(position) => print::line(&format!("stored at {position}")),
        None => print::line("not stored, as far back as ids are remembered"),
    }
}
