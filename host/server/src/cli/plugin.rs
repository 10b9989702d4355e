//! `bugle plugin`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;

use super::admin::escape;
use super::{Context, print};
use crate::api::PluginView;

/// What can be done with plugins.
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Deploy a component: checked, compiled, tried, then swapped in while the host runs
    #[command(after_help = "Example:\n  bugle plugin deploy webhook target/wasm32-wasip2/release/webhook.wasm")]
    Deploy {
        /// Its name; subscriptions refer to it
        name: String,
        /// The component (.wasm)
        file: PathBuf,
    },
    /// List plugins
    #[command(after_help = "Example:\n  bugle plugin list")]
    List,
    /// Show a plugin
    #[command(after_help = "Example:\n  bugle plugin show webhook")]
    Show {
        /// Its name
        name: String,
    },
}

pub(super) fn run(context: &Context, command: PluginCommand) -> anyhow::Result<()> {
    let admin = context.admin()?;
    match command {
        PluginCommand::Deploy { name, file } => {
            let bytes =
                std::fs::read(&file).with_context(|| format!("could not read the component `{}`", file.display()))?;
            let path = format!("/v1/plugins/{}", escape(&name));
            let plugin: PluginView = admin.put_bytes(&path, &bytes)?;
            show(context, &plugin)
        }
        PluginCommand::Show { name } => {
            let plugin: PluginView = admin.get(&format!("/v1/plugins/{}", escape(&name)))?;
            show(context, &plugin)
        }
        PluginCommand::List => {
            let plugins: Vec<PluginView> = admin.get("/v1/plugins")?;
            if context.json {
                return print::json(&plugins);
            }
            let row = |plugin: &PluginView| {
                vec![
                    plugin.name.clone(),
                    plugin.version.clone(),
                    plugin.revision.chars().take(12).collect(),
                    plugin.deployed_at.clone(),
                    plugin.subscriptions.join(", "),
                ]
            };
            let rows: Vec<_> = plugins.iter().map(row).collect();
            print::table(
                &["PLUGIN", "VERSION", "REVISION", "DEPLOYED", "SUBSCRIPTIONS"],
                &rows,
                "no plugins yet; deploy one with `bugle plugin deploy NAME FILE.wasm`",
            )
        }
    }
}

fn show(context: &Context, plugin: &PluginView) -> anyhow::Result<()> {
    if context.json {
        return print::json(plugin);
    }
    print::pairs(&[
        ("plugin", plugin.name.clone()),
        ("version", plugin.version.clone()),
        ("world", plugin.world.clone().unwrap_or_else(|| "unknown: it could not be loaded".to_owned())),
        ("description", plugin.description.clone()),
        ("revision", plugin.revision.clone()),
        ("bytes", plugin.bytes.to_string()),
        ("deployed", plugin.deployed_at.clone()),
        ("subscriptions", plugin.subscriptions.join(", ")),
    ])
}
