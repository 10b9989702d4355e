//! Receivers on loopback: an HTTP server whose path says how it behaves, and a mail relay that follows a script.
//!
//! Each runs in a thread of its own until the test process ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An address where nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An HTTP/1.1 server.
pub(crate) fn http() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer_all(stream));
            }
        });
    });
    told.recv().unwrap()
}

async fn answer_all(mut stream: tokio::net::TcpStream) {
    while let Some(head) = request(&mut stream).await {
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let answer = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let (bytes, goes_on) = match path.as_str() {
            "/ok" => (answer("200 OK", "fine"), true),
            "/500" => (answer("500 Oops", ""), true),
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(1000)).await;
                (answer("200 OK", "late"), true)
            }
            "/needs-idempotency-key" if head.to_lowercase().contains("\r\nidempotency-key: idem-") => {
                (answer("200 OK", ""), true)
            }
            "/then-close" => (answer("200 OK", "bye"), false),
            "/half" => (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec(), false),
            "/big" => (answer("200 OK", &"x".repeat(2 << 20)), false),
            "/close" => (Vec::new(), false),
            "/hang" => std::future::pending().await,
            _ => (answer("404 Not Found", ""), true),
        };
        if stream.write_all(&bytes).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Reads one request; returns its head.
async fn request(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(head.to_owned());
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// A mail relay. Each word of the script is for one message: its last reply, `hang up` instead of one, or `refuse recipient`.
pub(crate) fn smtp(script: &[&str]) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let script: Vec<String> = script.iter().map(|word| (*word).to_owned()).collect();
    thread::spawn(move || {
        for word in script {
            let (stream, _) = listener.accept().unwrap();
            // The client may leave at any step; the test judges by what it was told.
            drop(converse(stream, &word, &tell));
        }
    });
    (address, told)
}

fn converse(stream: TcpStream, word: &str, tell: &mpsc::Sender<String>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    let mut say = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes());
    say("220 relay")?;
    while let Some(line) = lines.next() {
        let line = line?;
        match line.get(..4).unwrap_or_default() {
            "EHLO" => say("250-relay\r\n250 8BITMIME")?,
            "RCPT" if word == "refuse recipient" => say("550 no such user")?,
            "DATA" => {
                say("354 go on")?;
                let mut message = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    message.push_str(&line);
                    message.push('\n');
                }
                if word == "hang up" {
                    return Ok(());
                }
                say(word)?;
                drop(tell.send(message));
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
    Ok(())
}
