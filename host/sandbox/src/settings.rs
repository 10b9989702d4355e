//! A subscription's settings against the manifest's `[config]`, turned into the texts a guest reads.
//!
//! Strings stay as they are, numbers and booleans become their text, lists and tables JSON. It does not know what settings mean.
//!
//! Invariant: a setting a guest sees was declared by its manifest and has the declared type.

use serde_json::Value;
use std::collections::BTreeMap;

use crate::manifest::{Manifest, SettingType};
use crate::quantity;

/// Settings by name, in the form of `config.get`.
pub(crate) type Settings = BTreeMap<String, String>;

/// Checks and fills in defaults; the error says what to change.
pub(crate) fn resolve(manifest: &Manifest, given: &BTreeMap<String, Value>) -> Result<Settings, String> {
    if let Some(name) = given.keys().find(|name| !manifest.config.contains_key(*name)) {
        let known: Vec<&str> = manifest.config.keys().map(String::as_str).collect();
        return Err(format!("`config.{name}` is no setting of this plugin; it has: {}", known.join(", ")));
    }
    let mut settings = Settings::new();
    for (name, setting) in &manifest.config {
        let Some(value) = given.get(name).or(setting.default.as_ref()) else {
            if setting.required {
                return Err(format!("`config.{name}` is missing: {}", setting.doc));
            }
            continue;
        };
        let text = text_of(setting.kind, value).map_err(|problem| format!("`config.{name}` {problem}"))?;
        settings.insert(name.clone(), text);
    }
    Ok(settings)
}

/// The text of a value of this type.
pub(crate) fn text_of(kind: SettingType, value: &Value) -> Result<String, String> {
    match (kind, value) {
        (SettingType::String, Value::String(text)) => Ok(text.clone()),
        (SettingType::Duration, Value::String(text)) if quantity::time(text).is_some() => Ok(text.clone()),
        (SettingType::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        (SettingType::Boolean, Value::Bool(answer)) => Ok(answer.to_string()),
        (SettingType::List, Value::Array(_)) | (SettingType::Table, Value::Object(_)) => Ok(value.to_string()),
        (SettingType::String, _) => Err("must be a string".to_owned()),
        (SettingType::Duration, _) => Err("must be a time such as \"30s\"".to_owned()),
        (SettingType::Integer, _) => Err("must be a whole number".to_owned()),
        (SettingType::Boolean, _) => Err("must be true or false".to_owned()),
        (SettingType::List, _) => Err("must be a list".to_owned()),
        (SettingType::Table, _) => Err("must be a table".to_owned()),
    }
}
