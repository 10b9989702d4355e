//! Tests of the command line: it is consistent, every command has an example that parses, mistakes are told.

use clap::{CommandFactory as _, Parser as _};

use super::Cli;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

fn each_command(command: &clap::Command, path: &str, see: &mut dyn FnMut(&str, &clap::Command)) {
    see(path, command);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        if sub.get_name() != "help" {
            each_command(sub, &format!("{path} {}", sub.get_name()), see);
        }
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_and_an_example_of_itself() {
    let mut seen = 0;
    each_command(&Cli::command(), "bugle", &mut |path, command| {
        seen += 1;
        assert!(command.get_about().is_some(), "{path} has no help");
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(path), "{path} has no example: {help}");
    });
    assert!(seen > 25, "{seen}");
}

#[test]
fn every_example_parses() {
    each_command(&Cli::command(), "bugle", &mut |path, command| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.trim().starts_with("bugle ")) {
            let line = line.split(" > ").next().unwrap().trim().trim_end_matches(" &");
            let words = line.replace("'{\"order\":7}'", "{}").replace("'provider is down'", "down");
            parse(&words).unwrap_or_else(|error| panic!("{path}: {line}: {error}"));
        }
    });
}

#[test]
fn flags_that_belong_to_all_commands_work_anywhere() {
    for line in [
        "bugle --json topic list",
        "bugle topic list --json",
        "bugle --data-dir x topic list",
        "bugle status --data-dir x --json",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn mistakes_are_told() {
    for (line, told) in [
        ("bugle", "Usage"),
        ("bugle topics list", "topic"),
        ("bugle topic create", "<NAME>"),
        ("bugle publish orders", "--type"),
        ("bugle publish orders --file x --type t", "cannot be used with"),
        ("bugle tail orders --from newest", "`latest`"),
        ("bugle kv put s k v --ttl 3", "`30s`"),
        ("bugle dead show s", "<POSITION>"),
        ("bugle dead replay", "<SUBSCRIPTION>"),
        ("bugle dead edit s 0-1 --data x --file f", "cannot be used with"),
        ("bugle dead replay s --rate fast", "--rate"),
        ("bugle subscription apply f --concurrency many", "--concurrency"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(told), "{line}: {error}");
    }
}
