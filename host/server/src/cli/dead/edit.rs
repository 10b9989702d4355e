//! `bugle dead edit`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value};

use super::super::admin::AdminClient;
use super::super::kept::One;
use super::super::{Context, print};
use super::{ROOT, show};
use crate::api::DeadView;

/// What to change.
#[derive(Debug, Args)]
pub(in super::super) struct EditArgs {
    #[command(flatten)]
    one: One,
    /// The whole event as CloudEvents JSON
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "data_file", "attributes"])]
    file: Option<PathBuf>,
    /// New payload: JSON if it parses as JSON, else text
    #[arg(long, conflicts_with = "data_file")]
    data: Option<String>,
    /// New payload from a file, as bytes
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Set an attribute; an empty value removes it
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
}

pub(super) fn run(context: &Context, admin: &AdminClient, args: EditArgs) -> anyhow::Result<()> {
    let path = args.one.path(ROOT);
    let event = match &args.file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))?;
            serde_json::from_str(&text).with_context(|| format!("`{}` is not a JSON object", file.display()))?
        }
        None if args.data.is_none() && args.data_file.is_none() && args.attributes.is_empty() => {
            bail!("nothing to change; give --data, --data-file, --attribute or --file")
        }
        None => {
            let letter: DeadView = admin.get(&path)?;
            changed(letter.event.event, &args)?
        }
    };
    let letter: DeadView = admin.put(&path, &event)?;
    show(context, &letter)?;
    if context.json {
        return Ok(());
    }
    print::line("\nedited; deliver it with `bugle dead replay`")
}

fn changed(mut event: Map<String, Value>, args: &EditArgs) -> anyhow::Result<Map<String, Value>> {
    for attribute in &args.attributes {
        let Some((name, value)) = attribute.split_once('=') else {
            bail!("`--attribute {attribute}` has no `=`; write `--attribute NAME=VALUE`");
        };
        match value {
            "" => drop(event.remove(name)),
            value => drop(event.insert(name.to_owned(), value.into())),
        }
    }
    let payload = match (&args.data, &args.data_file) {
        (Some(data), _) => {
            let parsed = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data.as_str()));
            Some(("data", parsed))
        }
        (None, Some(file)) => {
            let bytes = std::fs::read(file).with_context(|| format!("could not read `{}`", file.display()))?;
            Some(("data_base64", STANDARD.encode(bytes).into()))
        }
        (None, None) => None,
    };
    if let Some((name, value)) = payload {
        event.remove("data");
        event.remove("data_base64");
        event.insert(name.to_owned(), value);
    }
    Ok(event)
}
