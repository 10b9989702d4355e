//! A very small template language: text with `{{path}}` and filters. No loops, no conditions.
//!
//! ```text
//! [{{data.repository.full_name}}] {{subject | default: "no subject"}} {{data.action | upper}}
//! ```
//!
//! A path is a CloudEvents attribute (`id`, `type`, `source`, `subject`, `time`, extensions), `topic`,
//! `data`, or a place in JSON data (`data.commits.0.message`). Missing or null is empty text; strings are
//! bare, everything else JSON. Filters, left to right: `default: "text"` (for empty), `upper`, `lower`,
//! `trim`, `truncate: "80"` (characters). It never runs code and cannot fail on an event: all mistakes are found by `parse`.

use crate::event::Event;
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// A parsed template; `"...".parse()` makes one, so a setting can be one: `config.require::<Template>("subject")`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Slot { path: Vec<String>, filters: Vec<Filter> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    Default(String),
    Upper,
    Lower,
    Trim,
    Truncate(usize),
}

impl Template {
    /// Fill in the values of an event.
    pub fn render(&self, event: &Event<Value>) -> String {
        self.render_with(event, |text| text)
    }

    /// Fill in with `&`, `<`, `>`, `"` and `'` of the values escaped; the template itself is HTML.
    pub fn render_html(&self, event: &Event<Value>) -> String {
        self.render_with(event, |text| escape(&text))
    }

    fn render_with(&self, event: &Event<Value>, finish: impl Fn(String) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Slot { path, filters } => {
                finish(filters.iter().fold(look_up(event, path), |text, filter| filter.apply(text)))
            }
        };
        self.parts.iter().map(part).collect()
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (slot, after) = after
                .split_once("}}")
                .ok_or_else(|| TemplateError(format!("`{{{{` without `}}}}` near `{{{{{}`", head(after))))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(parse_slot(slot)?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

impl Filter {
    fn apply(&self, text: String) -> String {
        match self {
            Self::Default(other) if text.is_empty() => other.clone(),
            Self::Default(_) => text,
            Self::Upper => text.to_uppercase(),
            Self::Lower => text.to_lowercase(),
            Self::Trim => text.trim().to_owned(),
            Self::Truncate(length) => text.chars().take(*length).collect(),
        }
    }
}

fn parse_slot(slot: &str) -> Result<Part, TemplateError> {
    let mut pieces = split_outside_quotes(slot).into_iter();
    let path: Vec<String> =
        pieces.next().unwrap_or_default().trim().split('.').map(|step| step.trim().to_owned()).collect();
    if path.iter().any(String::is_empty) {
        return Err(TemplateError(format!("`{{{{{slot}}}}}` has an empty path or an empty step in it")));
    }
    let filters = pieces.map(|piece| parse_filter(piece.trim())).collect::<Result<_, _>>()?;
    Ok(Part::Slot { path, filters })
}

fn parse_filter(text: &str) -> Result<Filter, TemplateError> {
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name.trim(), Some(unquote(argument.trim())?)),
        None => (text, None),
    };
    match (name, argument) {
        ("default", Some(other)) => Ok(Filter::Default(other)),
        ("upper", None) => Ok(Filter::Upper),
        ("lower", None) => Ok(Filter::Lower),
        ("trim", None) => Ok(Filter::Trim),
        ("truncate", Some(length)) => length
            .parse()
            .map(Filter::Truncate)
            .map_err(|_| TemplateError(format!("`truncate: \"{length}\"` needs a number"))),
        _ => Err(TemplateError(format!(
            "unknown filter `{text}`; there are default: \"...\", upper, lower, trim and truncate: \"80\""
        ))),
    }
}

fn unquote(text: &str) -> Result<String, TemplateError> {
    text.strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
        .map(str::to_owned)
        .ok_or_else(|| TemplateError(format!("`{text}` must be in double quotes")))
}

/// Split at `|`, but not inside double quotes.
fn split_outside_quotes(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        inside ^= c == '"';
        c == '|' && !inside
    })
    .collect()
}

fn look_up(event: &Event<Value>, path: &[String]) -> String {
    let (first, rest) = path.split_first().expect("a parsed path has a step");
    if first == "data" {
        let found = rest.iter().try_fold(event.body(), |value, name| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            other => other.get(name),
        });
        return found.map(show).unwrap_or_default();
    }
    match (first.as_str(), rest) {
        ("topic", []) => event.topic().to_owned(),
        (name, []) => event.attribute(name).unwrap_or_default(),
        _ => String::new(),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

fn head(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock;
    use serde_json::json;

    fn render(template: &str) -> String {
        let delivery = mock::event("e-1")
            .kind("push")
            .attribute("tenant", "acme")
            .json(&json!({
                "repo": { "name": "a<b>" }, "commits": [{ "n": 7 }], "none": null, "flag": true,
            }))
            .into_delivery();
        let event = Event::decode(crate::parcel::Parcel::of(&delivery)).unwrap();
        template.parse::<Template>().unwrap().render(&event)
    }

    #[test]
    fn paths_reach_attributes_and_json() {
        assert_eq!(render("{{id}} {{type}} {{ tenant }} {{topic}}"), "e-1 push acme mock");
        assert_eq!(render("{{data.repo.name}} {{data.commits.0.n}} {{data.flag}}"), "a<b> 7 true");
        assert_eq!(render("{{data.repo}}"), r#"{"name":"a<b>"}"#);
        assert_eq!(render("no slots, } and { stay"), "no slots, } and { stay");
    }

    #[test]
    fn what_is_missing_is_empty_or_the_default() {
        assert_eq!(render("[{{data.none}}{{data.x.y.z}}{{data.commits.9}}{{nothing}}{{id.x}}]"), "[]");
        assert_eq!(render(r#"{{data.x | default: "a | b" | upper}}"#), "A | B");
        assert_eq!(render(r#"{{type | default: "x" | truncate: "2"}}"#), "pu");
    }

    #[test]
    fn html_escapes_values_but_not_the_template() {
        let delivery = mock::event("1").json(&json!({ "n": "<&\"'>" })).into_delivery();
        let event = Event::decode(crate::parcel::Parcel::of(&delivery)).unwrap();
        let template: Template = "<b>{{data.n}}</b>".parse().unwrap();
        assert_eq!(template.render_html(&event), "<b>&lt;&amp;&quot;&#39;&gt;</b>");
    }

    #[test]
    fn mistakes_are_found_before_any_event() {
        let error = |text: &str| text.parse::<Template>().unwrap_err().to_string();
        assert_eq!(error("a {{id b"), "`{{` without `}}` near `{{id b`");
        assert!(error("{{}}").contains("empty path"));
        assert!(error("{{data..x}}").contains("empty step"));
        assert!(error("{{id | shout}}").starts_with("unknown filter `shout`"));
        assert!(error("{{id | default: x}}").contains("double quotes"));
        assert!(error("{{id | truncate: \"x\"}}").contains("needs a number"));
    }
}
