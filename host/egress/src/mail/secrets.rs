//! Keeps the relay's password out of texts that the relay has a part in.
//!
//! A relay, or whoever plays one, may repeat in a refusal what it was sent, and its replies reach guests, logs and dead letters.
//!
//! Invariant: no form in which the login travels is in a text that was [hidden](Secrets::hidden_in).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Shorter ones are in every text by chance, and no secrets.
const SECRET_BYTES_MIN: usize = 3;

/// The forms in which a login travels.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn new(user: &str, password: &str) -> Secrets {
        let plain = BASE64.encode(format!("\0{user}\0{password}"));
        // The longest first, since the others may be in it.
        let forms = [plain, BASE64.encode(password), password.to_owned()];
        Secrets(forms.into_iter().filter(|form| form.len() >= SECRET_BYTES_MIN).collect())
    }

    /// The text with every form replaced. A text that was cut may end in the beginning of one: that is hidden too.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in &self.0 {
            text = text.replace(form.as_str(), "(hidden)");
            let ends = (SECRET_BYTES_MIN..form.len()).rev().filter_map(|len| form.get(..len));
            if let Some(end) = ends.into_iter().find(|end| text.ends_with(end)) {
                text.truncate(text.len() - end.len());
                text.push_str("(hidden)");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Secrets;

    #[test]
    fn every_form_of_a_login_is_hidden_also_where_a_text_was_cut() {
        let secrets = Secrets::new("user", "hunter2");
        let check = |text: &str, expected: &str| assert_eq!(secrets.hidden_in(text), expected);
        check("no `hunter2`, hunter2!", "no `(hidden)`, (hidden)!");
        check("535 AHVzZXIAaHVudGVyMg== aHVudGVyMg==", "535 (hidden) (hidden)");
        check("you said hunt", "you said (hidden)");
        check("you said AHVzZXIAaHVud", "you said (hidden)");
        check("the user is unknown", "the user is unknown");
        assert_eq!(Secrets::new("", "").hidden_in("text"), "text");
    }
}
