//! Which names topics, subscriptions and plugins may have.
//!
//! Names end up in keys, URLs, metrics labels and shells, so they are kept to characters that need no quoting in any of them.

/// Longest name in bytes: fits a key, a label and a line.
pub const NAME_BYTES_MAX: usize = 64;

/// A name that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a {what} name; use a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit, at most {NAME_BYTES_MAX}"
)]
pub struct NameError {
    /// What was to be named.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

/// Checks a name given by a person.
pub fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let starts = name.bytes().next().is_some_and(is_plain);
    let allowed = name.bytes().all(|c| is_plain(c) || b"-_.".contains(&c));
    if starts && allowed && name.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        let name = name.to_owned();
        Err(NameError { what, name })
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_plain_names_pass() {
        for good in ["orders", "a", "0", "orders.eu-west_1", &"x".repeat(64)] {
            assert_eq!(check("topic", good), Ok(()));
        }
        for bad in ["", "Orders", ".hidden", "-x", "a b", "a/b", "ä", &"x".repeat(65), "a\n"] {
            let error = check("topic", bad).unwrap_err().to_string();
            assert!(error.contains("not a topic name"), "{error}");
        }
    }
}
