//! The receiver over a real connection: what each behaviour looks like to a caller, and what is written down.

use std::time::Duration;

use bugle_checker::record::CallAnswer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{HttpReceiver, Route};
use crate::journal::Journal;
use crate::script::Script;

fn start(script: Script) -> (HttpReceiver, Journal, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::create(directory.path(), "calls.jsonl").unwrap();
    let route = Route { path: "/hook".into(), subscription: "s".into(), script };
    (HttpReceiver::start(Some(journal.clone()), vec![route]).unwrap(), journal, directory)
}

async fn connect(receiver: &HttpReceiver) -> TcpStream {
    TcpStream::connect(receiver.address()).await.unwrap()
}

async fn post(stream: &mut TcpStream, id: &str) -> String {
    let body = format!(r#"{{"source":"/s","id":"{id}"}}"#);
    let request = format!("POST /hook HTTP/1.1\r\nwebhook-id: k\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

async fn calls(journal: &Journal, count: usize) -> Vec<CallAnswer> {
    for _ in 0..1000 {
        if journal.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(journal.records().unwrap().len() == count);
    journal.calls().iter().map(|call| call.answer).collect()
}

#[tokio::test]
async fn a_connection_serves_many_calls() {
    let (receiver, journal, _directory) = start(Script { fail: 1000, ..Script::default() });
    let mut stream = connect(&receiver).await;
    assert!(post(&mut stream, "a").await.starts_with("HTTP/1.1 500"));
    assert!(post(&mut stream, "a").await.starts_with("HTTP/1.1 200"));
    assert_eq!(calls(&journal, 2).await, [CallAnswer::Refused, CallAnswer::Accepted]);
    let call = journal.calls().pop().unwrap();
    assert_eq!((call.source.as_str(), call.id.as_str(), call.idempotency_key.as_str()), ("/s", "a", "k"));
}

#[tokio::test]
async fn a_busy_receiver_says_when_to_come_back() {
    let (receiver, _journal, _directory) = start(Script { busy: 1000, retry_after_s: 3, ..Script::default() });
    let answer = post(&mut connect(&receiver).await, "a").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 3\r\n"), "{answer}");
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let (receiver, journal, _directory) = start(Script { broken: 1000, ..Script::default() });
    let mut stream = connect(&receiver).await;
    assert!(post(&mut stream, "a").await.ends_with("half"));
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(calls(&journal, 1).await, [CallAnswer::Aborted]);
}

#[tokio::test]
async fn a_hanging_call_is_over_when_its_caller_gives_up() {
    let (receiver, journal, _directory) = start(Script { hang: 1000, ..Script::default() });
    let mut stream = connect(&receiver).await;
    let waited = tokio::time::timeout(Duration::from_millis(50), post(&mut stream, "a")).await;
    assert!(waited.is_err());
    drop(stream);
    assert_eq!(calls(&journal, 1).await, [CallAnswer::Aborted]);
}

#[tokio::test]
async fn chunked_bodies_and_unknown_paths_are_understood() {
    let (receiver, journal, _directory) = start(Script::default());
    let mut stream = connect(&receiver).await;
    let text = "POST /hook HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"id\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    assert_eq!(journal.calls().len(), 1);
    stream.write_all(b"GET /other HTTP/1.1\r\n\r\n").await.unwrap();
    let length = stream.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 404"));
    stream.write_all(b"GET /stats HTTP/1.1\r\n\r\n").await.unwrap();
    let length = stream.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).contains("\"requests\":2"));
}

async fn status(receiver: &HttpReceiver, path: &str) -> String {
    let mut stream = connect(receiver).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn it_tells_what_it_has_taken_even_if_it_never_said_so() {
    let (receiver, journal, _directory) = start(Script { broken: 1000, ..Script::default() });
    assert_eq!(status(&receiver, "/sent/k").await, "HTTP/1.1 404");
    post(&mut connect(&receiver).await, "a").await;
    assert_eq!(calls(&journal, 1).await, [CallAnswer::Aborted]);
    assert_eq!(status(&receiver, "/sent/k").await, "HTTP/1.1 200");
    let (refusing, ..) = start(Script { fail: 1000, ..Script::default() });
    post(&mut connect(&refusing).await, "a").await;
    assert_eq!(status(&refusing, "/sent/k").await, "HTTP/1.1 404");
    assert_eq!((receiver.questions(), refusing.questions(), receiver.requests()), (2, 1, 1));
}
