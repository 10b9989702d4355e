//! Filters as people write them: `{ prefix = { type = "com.github." } }`.
//!
//! The shape is the one of the CloudEvents subscriptions draft, so that it need not be learnt twice. Matching is the core's.

use std::collections::BTreeMap;

use bugle_core::spec::{FILTER_DEPTH_MAX, FILTER_PARTS_MAX, Filter};
use serde::{Deserialize, Serialize};

/// Which events a subscription wants. Several attributes in one comparison must all match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterSpec {
    /// The attributes have exactly these values.
    Exact(BTreeMap<String, String>),
    /// The attributes start with these.
    Prefix(BTreeMap<String, String>),
    /// The attributes end with these.
    Suffix(BTreeMap<String, String>),
    /// All of these hold.
    All(Vec<FilterSpec>),
    /// At least one of these holds.
    Any(Vec<FilterSpec>),
    /// This does not hold.
    Not(Box<FilterSpec>),
}

impl FilterSpec {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.to_core().depth() > FILTER_DEPTH_MAX {
            return Err(format!("nests deeper than {FILTER_DEPTH_MAX} levels"));
        }
        if self.to_core().parts() > FILTER_PARTS_MAX {
            return Err(format!(
                "has more than {FILTER_PARTS_MAX} parts; every event that is read may meet all of them"
            ));
        }
        self.check_parts()
    }

    fn check_parts(&self) -> Result<(), String> {
        match self {
            FilterSpec::Exact(wanted) | FilterSpec::Prefix(wanted) | FilterSpec::Suffix(wanted) => {
                if wanted.is_empty() {
                    return Err(
                        "compares no attribute; write such as `{ exact = { type = \"order.paid\" } }`".to_owned()
                    );
                }
                match wanted.keys().find(|name| !is_attribute(name)) {
                    Some(name) => {
                        Err(format!("names `{name}`, which is no CloudEvents attribute that is text (a-z and 0-9)"))
                    }
                    None => Ok(()),
                }
            }
            FilterSpec::All(parts) | FilterSpec::Any(parts) if parts.is_empty() => {
                Err("has an empty `all` or `any`; leave it out to get every event".to_owned())
            }
            FilterSpec::All(parts) | FilterSpec::Any(parts) => parts.iter().try_for_each(FilterSpec::check_parts),
            FilterSpec::Not(part) => part.check_parts(),
        }
    }

    /// What the core runs.
    #[must_use]
    pub fn to_core(&self) -> Filter {
        let compare = |wanted: &BTreeMap<String, String>, make: fn(String, String) -> Filter| {
            let mut parts: Vec<Filter> =
                wanted.iter().map(|(attribute, value)| make(attribute.clone(), value.clone())).collect();
            match (parts.len(), parts.pop()) {
                (1, Some(only)) => only,
                (_, last) => {
                    parts.extend(last);
                    Filter::All(parts)
                }
            }
        };
        match self {
            FilterSpec::Exact(wanted) => compare(wanted, |attribute, value| Filter::Exact { attribute, value }),
            FilterSpec::Prefix(wanted) => compare(wanted, |attribute, value| Filter::Prefix { attribute, value }),
            FilterSpec::Suffix(wanted) => compare(wanted, |attribute, value| Filter::Suffix { attribute, value }),
            FilterSpec::All(parts) => Filter::All(parts.iter().map(FilterSpec::to_core).collect()),
            FilterSpec::Any(parts) => Filter::Any(parts.iter().map(FilterSpec::to_core).collect()),
            FilterSpec::Not(part) => Filter::Not(Box::new(part.to_core())),
        }
    }
}

/// CloudEvents names are lower case letters and digits; `time` and `priority` are not compared as text.
fn is_attribute(name: &str) -> bool {
    let allowed = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    !name.is_empty() && allowed && name != "time" && name != "priority"
}
