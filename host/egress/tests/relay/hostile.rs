//! Relays of our own that lie: one repeats the password, one adds to its last unprotected line.

use bugle_egress::RelayTls;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};

use crate::{egress, not_sent, relay};

type Client = BufStream<TcpStream>;

async fn say(client: &mut Client, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
}

async fn hear(client: &mut Client) -> String {
    let mut line = String::new();
    client.read_line(&mut line).await.unwrap();
    line
}

/// Takes a client in up to its first command after the greeting.
async fn greet(listener: TcpListener, offers: &str) -> Client {
    let mut client = BufStream::new(listener.accept().await.unwrap().0);
    say(&mut client, "220 relay.test\r\n").await;
    assert!(hear(&mut client).await.starts_with("EHLO"));
    say(&mut client, &format!("250-relay.test\r\n250 {offers}\r\n")).await;
    client
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_password_that_the_relay_repeats_is_hidden() {
    let (listener, port) = listen().await;
    let repeating = async {
        let mut client = greet(listener, "AUTH PLAIN").await;
        let login = hear(&mut client).await;
        let secret = login.trim_end().rsplit(' ').next().unwrap();
        say(&mut client, &format!("535 `{secret}` is not `{}`\r\n", crate::PASSWORD)).await;
    };
    let egress = egress(relay("127.0.0.1", port, RelayTls::None));
    let (text, ()) = tokio::join!(not_sent(&egress), repeating);
    assert!(text.contains("`(hidden)` is not `(hidden)`"), "{text}");
}

#[tokio::test]
async fn what_comes_with_the_last_unprotected_line_is_not_taken_for_protected() {
    let (listener, port) = listen().await;
    let injecting = async {
        let mut client = greet(listener, "STARTTLS").await;
        assert_eq!(hear(&mut client).await, "STARTTLS\r\n");
        // As if it were the answer to the EHLO that follows over TLS.
        say(&mut client, "220 go on\r\n250-relay.test\r\n250 AUTH PLAIN\r\n").await;
        let mut rest = Vec::new();
        // The client breaks off in the handshake, perhaps with a reset.
        let _ = client.read_to_end(&mut rest).await;
        rest
    };
    let egress = egress(relay("127.0.0.1", port, RelayTls::StartTls));
    let (text, rest) = tokio::join!(not_sent(&egress), injecting);
    assert!(text.contains("Connection error") || text.contains("tls error"), "{text}");
    assert_eq!(rest.first(), Some(&0x16), "only a TLS handshake came");
    let login = b"AUTH";
    assert!(!rest.windows(login.len()).any(|window| window == login));
}
