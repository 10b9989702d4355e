//! Which event a request is about, as far as its text tells: body of a structured CloudEvent, `ce-` headers, or the probe's letter.
//!
//! Knows the forms that our plugins send and nothing of connections.

use serde_json::Value;

use crate::request::Request;

/// An event as a receiver knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) idempotency_key: String,
}

impl Identity {
    /// The event of an HTTP request; none if it names none.
    pub(crate) fn of_request(request: &Request) -> Option<Identity> {
        let key = request.header("webhook-id").or_else(|| request.header("idempotency-key"));
        let idempotency_key = key.unwrap_or_default().to_owned();
        if let (Some(source), Some(id)) = (request.header("ce-source"), request.header("ce-id")) {
            return Some(Identity { source: source.to_owned(), id: id.to_owned(), idempotency_key });
        }
        let body: Value = serde_json::from_slice(&request.body).ok()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Identity { source: text("source").unwrap_or_default(), id: text("id")?, idempotency_key })
    }

    /// The event of a mail, from the headers that the e-mail channel writes.
    pub(crate) fn of_mail(mail: &str) -> Option<Identity> {
        let id = mail_header(mail, "x-event-id")?;
        let source = mail_header(mail, "x-event-source").unwrap_or_default();
        Some(Identity { source, id, idempotency_key: mail_header(mail, "message-id").unwrap_or_default() })
    }
}

/// The value of a header; lines that go on are joined.
fn mail_header(mail: &str, name: &str) -> Option<String> {
    let head = mail.split("\r\n\r\n").next().unwrap_or(mail);
    let mut lines = head.lines().skip_while(|line| {
        let found = line.split_once(':').map(|(found, _)| found);
        !found.is_some_and(|found| found.eq_ignore_ascii_case(name))
    });
    let (_, first) = lines.next()?.split_once(':')?;
    let more = lines.take_while(|line| line.starts_with([' ', '\t']));
    let parts: Vec<&str> = std::iter::once(first).chain(more).map(str::trim).filter(|part| !part.is_empty()).collect();
    Some(parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::Identity;
    use crate::request::Request;

    fn request(headers: &[(&str, &str)], body: &str) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { method: "POST".into(), path: "/".into(), headers, body: body.into() }
    }

    #[test]
    fn a_structured_event_names_itself() {
        let found = Identity::of_request(&request(&[("webhook-id", "k")], r#"{"source":"/s","id":"a"}"#)).unwrap();
        assert_eq!((found.source.as_str(), found.id.as_str(), found.idempotency_key.as_str()), ("/s", "a", "k"));
    }

    #[test]
    fn a_binary_event_is_named_by_its_headers() {
        let headers = [("ce-source", "/s"), ("ce-id", "a"), ("idempotency-key", "k")];
        let found = Identity::of_request(&request(&headers, "not json")).unwrap();
        assert_eq!((found.id.as_str(), found.idempotency_key.as_str()), ("a", "k"));
        assert_eq!(Identity::of_request(&request(&[], "not json")), None);
    }

    #[test]
    fn a_mail_is_named_by_its_head_only() {
        let mail = "Message-ID: <a@b>\r\nX-Event-Id: push-1-7\r\nX-Event-Source:\r\n /long/source\r\n\r\nX-Event-Id: other\r\n";
        let found = Identity::of_mail(mail).unwrap();
        assert_eq!((found.source.as_str(), found.id.as_str()), ("/long/source", "push-1-7"));
        assert_eq!(found.idempotency_key, "<a@b>");
        assert_eq!(Identity::of_mail("Subject: x\r\n\r\nX-Event-Id: other\r\n"), None);
    }
}
