//! Manifests that are accepted, and what is wrong with those that are not.

use super::*;
use crate::settings;
use serde_json::json;

const HEAD: &str = "name = \"probe\"\nversion = \"1\"\ncontract = \"0.1\"\n";

fn refused(rest: &str) -> String {
    Manifest::parse(&format!("{HEAD}{rest}")).unwrap_err().to_string()
}

#[test]
fn the_smallest_manifest_asks_for_nothing() {
    let manifest = Manifest::parse(HEAD).unwrap();
    assert!(manifest.egress.allow.is_empty() && manifest.secrets.is_empty() && manifest.config.is_empty());
    assert!(!manifest.grants.kv && !manifest.grants.mail && !manifest.grants.pause);
}

#[test]
fn mistakes_are_named() {
    for (rest, part) in [
        ("nmae = \"x\"\n", "unknown field `nmae`"),
        ("[limits]\nmemory = \"16MB\"\n", "is not a size"),
        ("[limits]\ncpu = \"fast\"\n", "is not a time"),
        ("[egress]\nallow = [\"api.example.com\"]\n", "is not an origin"),
        ("[egress]\nallow = [\"config:url\"]\n", "names `config:url`"),
        ("[secrets.a]\nuses = [\"eat\"]\n", "eat"),
        (
            "[secrets.a]\nuses = [\"sign\"]\nbind = [{origin = \"https://a.example\", header = \"x\", value = \"{a}\"}]\n",
            "lacks `header`",
        ),
        (
            "[secrets.a]\nuses = [\"header\"]\nbind = [{origin = \"https://a.example\", header = \"x\", value = \"b\"}]\n",
            "without `{a}`",
        ),
        ("[config.n]\ntype = \"integer\"\ndefault = \"7\"\n", "whole number"),
        ("[config.n]\ntype = \"float\"\n", "float"),
    ] {
        let error = refused(rest);
        assert!(error.contains(part), "{rest}: {error}");
    }
    let other = Manifest::parse("name = \"A\"\nversion = \"1\"\ncontract = \"0.1\"\n").unwrap_err();
    assert!(other.to_string().contains("`name`"), "{other}");
    let other = Manifest::parse("name = \"a\"\nversion = \"1\"\ncontract = \"9.9\"\n").unwrap_err();
    assert!(other.to_string().contains("track `0.1`"), "{other}");
}

#[test]
fn settings_follow_the_manifest() {
    let manifest = Manifest::parse(&format!(
        "{HEAD}[config.url]\ntype = \"string\"\nrequired = true\ndoc = \"Where to\"\n[config.n]\ntype = \"integer\"\ndefault = 7\n\
         [config.wait]\ntype = \"duration\"\n[config.map]\ntype = \"table\"\n"
    ))
    .unwrap();
    let resolve = |value: serde_json::Value| {
        let given = value.as_object().unwrap().clone().into_iter().collect();
        settings::resolve(&manifest, &given)
    };
    let settings = resolve(json!({"url": "u", "map": {"a": 1}})).unwrap();
    let found: Vec<(&str, &str)> = settings.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(found, [("map", "{\"a\":1}"), ("n", "7"), ("url", "u")]);
    for (given, part) in [
        (json!({}), "`config.url` is missing: Where to"),
        (json!({"url": "u", "ulr": "v"}), "`config.ulr` is no setting"),
        (json!({"url": 7}), "`config.url` must be a string"),
        (json!({"url": "u", "n": 1.5}), "whole number"),
        (json!({"url": "u", "wait": "soon"}), "time such as"),
    ] {
        let error = resolve(given).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
