//! Callbacks of a provider: what the guest says comes back checked, and whatever breaks gives its place back.

use std::time::Duration;

use bugle_core::callback::StatusChange;
use bugle_core::delivery::CallEnd;
use bugle_core::row::RecordStatus;
use bugle_core::time::Timestamp;
use bugle_sandbox::Grants;
use bugle_sandbox::inbound::{Callback, ReceiveError};

use crate::harness::{Bench, PATIENCE};

fn receive(bench: &Bench, body: &str, within: Duration) -> Result<Vec<StatusChange>, ReceiveError> {
    let headers = vec![("x-key".to_owned(), "good".to_owned())];
    let (method, path) = ("POST".to_owned(), "/inbound/test".to_owned());
    let callback = Callback { method, path, headers, body: body.as_bytes().to_vec(), query: None };
    bench.receive(callback, within)
}

#[test]
fn what_the_guest_says_comes_back_in_the_cores_words() {
    let bench = Bench::probe(Grants::default(), &[]);
    let body = r#"{"changes": [["m-1", "delivered", "user:42", 1234], ["m-2", "bounced"]]}"#;
    let change = |reference: &str, status| StatusChange {
        reference: reference.to_owned(),
        recipient: None,
        status,
        at: None,
        detail: String::new(),
    };
    let first = StatusChange {
        recipient: Some("user:42".to_owned()),
        at: Some(Timestamp(1234)),
        ..change("m-1", RecordStatus::Delivered)
    };
    assert_eq!(receive(&bench, body, PATIENCE), Ok(vec![first, change("m-2", RecordStatus::Bounced)]));
    let forged = bench.receive(Callback { method: "POST".to_owned(), ..Callback::default() }, PATIENCE);
    assert_eq!(forged, Err(ReceiveError::Refused("the key of POST  is wrong".to_owned())));
}

#[test]
fn a_guest_that_breaks_says_nothing_and_gives_its_place_back() {
    let bench = Bench::probe(Grants::default(), &[]);
    let broke = |body: &str, within| match receive(&bench, body, within) {
        Err(ReceiveError::Broke(end)) => end,
        other => panic!("{body}: {other:?}"),
    };
    let text = |end: CallEnd| format!("{end:?}");
    assert!(text(broke(r#"{"do": "trap"}"#, PATIENCE)).contains("a callback said trap"));
    assert!(text(broke(r#"{"do": "spin"}"#, PATIENCE)).contains("CPU budget"));
    assert!(text(broke(r#"{"do": "sleep"}"#, Duration::from_millis(50))).contains("deadline"));
    assert!(text(broke(r#"{"do": "flood"}"#, PATIENCE)).contains("at most 1000"));
    assert!(text(broke(r#"{"changes": [["m", "arrived"]]}"#, PATIENCE)).contains("none of accepted"));
    assert!(text(broke(r#"{"changes": [["", "sent"]]}"#, PATIENCE)).contains("1 to 1024"));
    assert!(bench.drained(), "every instance gave its place back");
}
