//! The relay over a real connection, line by line.

use bugle_checker::record::CallAnswer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

use super::SmtpReceiver;
use crate::journal::Journal;
use crate::script::Script;

async fn ask(stream: &mut BufStream<TcpStream>, line: &str) -> String {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut reply = String::new();
    stream.read_line(&mut reply).await.unwrap();
    reply
}

async fn send(stream: &mut BufStream<TcpStream>) -> String {
    assert!(ask(stream, "MAIL FROM:<a@b.example>").await.starts_with("250"));
    assert!(ask(stream, "RCPT TO:<c@d.example>").await.starts_with("250"));
    assert!(ask(stream, "DATA").await.starts_with("354"));
    ask(stream, "Message-ID: <k@h>\r\nX-Event-Source: /s\r\nX-Event-Id: a\r\n\r\ntext\r\n..\r\n.").await
}

#[tokio::test]
async fn a_refused_mail_is_taken_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::create(directory.path(), "mail.jsonl").unwrap();
    let script = Script { fail: 1000, ..Script::default() };
    let receiver = SmtpReceiver::start(journal.clone(), "mail", script).await.unwrap();
    let mut stream = BufStream::new(TcpStream::connect(receiver.address()).await.unwrap());
    let mut greeting = String::new();
    stream.read_line(&mut greeting).await.unwrap();
    assert!(greeting.starts_with("220"));
    assert!(ask(&mut stream, "EHLO client.test").await.starts_with("250"));
    assert!(send(&mut stream).await.starts_with("451"));
    assert!(send(&mut stream).await.starts_with("250"));
    assert!(ask(&mut stream, "QUIT").await.starts_with("221"));
    let calls = journal.calls();
    let answers: Vec<CallAnswer> = calls.iter().map(|call| call.answer).collect();
    assert_eq!(answers, [CallAnswer::Refused, CallAnswer::Accepted]);
    assert!(calls.iter().all(|call| call.id == "a" && call.source == "/s" && call.idempotency_key == "<k@h>"));
}
