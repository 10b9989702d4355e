//! The operating guide's samples are read by the host's own parsers, so the guide cannot fall behind them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use bugle::config::Config;
use bugle::definition::Definition;

/// The blocks of one language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let inside = page.split(&open).skip(1);
    inside.map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn samples_of_the_operating_guide_are_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks = blocks(&page, "toml");
    let (config, definitions) = blocks.split_first().unwrap();
    let config = Config::parse("guide", config).unwrap();
    assert_eq!(config.mail.host.as_deref(), Some("smtp.example.com"));
    let name = |text: &String| Definition::parse(Path::new("guide.toml"), text).unwrap().name;
    let names: Vec<String> = definitions.iter().map(name).collect();
    assert_eq!(names, ["orders-webhook", "sms", "sms", "sms", "orders-second-try"]);
}
