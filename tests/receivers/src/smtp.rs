//! The SMTP receiver: as much of a relay as a mail client needs, misbehaving as its script says, every mail written down.
//!
//! It offers no TLS and no authentication. The event is read from the headers that the e-mail channel writes.
//!
//! Invariant: a mail is `accepted` only if the final reply was written to the connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bugle_checker::record::{Call, CallAnswer, Record};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::now_us;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::script::{Behaviour, Script};

/// A running receiver; it ends with its runtime.
#[derive(Clone, Debug)]
pub struct SmtpReceiver {
    address: SocketAddr,
}

#[derive(Debug)]
struct Inside {
    journal: Journal,
    subscription: String,
    script: Script,
    calls: Mutex<HashMap<String, u32>>,
}

/// Longer mails than a test sends are not read.
const MAIL_BYTES_MAX: usize = 4 << 20;

/// A hanging mail ends here even if its sender never gives up.
const HANG_MAX: Duration = Duration::from_secs(120);

impl SmtpReceiver {
    /// Serves on a free loopback port, on the current runtime.
    pub async fn start(journal: Journal, subscription: &str, script: Script) -> anyhow::Result<SmtpReceiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("could not listen for mail")?;
        let address = listener.local_addr()?;
        let subscription = subscription.to_owned();
        let inside = Arc::new(Inside { journal, subscription, script, calls: Mutex::default() });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inside = Arc::clone(&inside);
                // A connection that breaks (a kill does that) is the sender's affair.
                tokio::spawn(async move { drop(inside.talk(stream).await) });
            }
        });
        Ok(SmtpReceiver { address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Inside {
    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufStream::new(stream);
        say(&mut stream, "220 receiver.test ready").await?;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "HELO" => say(&mut stream, "250 receiver.test").await?,
                "MAIL" | "RCPT" | "RSET" | "NOOP" => say(&mut stream, "250 ok").await?,
                "DATA" => {
                    say(&mut stream, "354 go on").await?;
                    let Some(mail) = read_mail(&mut stream).await? else { return Ok(()) };
                    if !self.take(&mut stream, &mail).await? {
                        return Ok(());
                    }
                }
                "QUIT" => return say(&mut stream, "221 bye").await,
                _ => say(&mut stream, "502 not here").await?,
            }
        }
    }

    /// Answers a complete mail; tells whether the connection goes on.
    async fn take(&self, stream: &mut BufStream<TcpStream>, mail: &str) -> std::io::Result<bool> {
        let at_us = now_us();
        let identity = Identity::of_mail(mail);
        let id = identity.as_ref().map(|identity| identity.id.clone()).unwrap_or_default();
        let behaviour = self.script.decide(&id, self.count(&id));
        let outcome = perform(&self.script, behaviour, stream).await;
        let answer = match (&outcome, behaviour) {
            (Ok(true), Behaviour::Accept) => CallAnswer::Accepted,
            (Ok(true), _) => CallAnswer::Refused,
            (Ok(false) | Err(_), _) => CallAnswer::Aborted,
        };
        let identity = identity.unwrap_or(Identity { source: String::new(), id, idempotency_key: String::new() });
        self.journal.write(Record::Call(Call {
            at_us,
            done_us: now_us(),
            subscription: self.subscription.clone(),
            source: identity.source,
            id: identity.id,
            effect: String::new(),
            idempotency_key: identity.idempotency_key,
            answer,
        }));
        outcome
    }

    fn count(&self, id: &str) -> u32 {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(id.to_owned()).or_default();
        *count += 1;
        *count
    }
}

async fn perform(script: &Script, behaviour: Behaviour, stream: &mut BufStream<TcpStream>) -> std::io::Result<bool> {
    let wait = if behaviour == Behaviour::Hang { HANG_MAX } else { script.delay };
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stream.fill_buf() => return Ok(false),
        }
    }
    let reply = match behaviour {
        Behaviour::Accept => "250 taken",
        Behaviour::Fail | Behaviour::Busy => "451 try again later",
        Behaviour::Reject | Behaviour::Gone => "550 no such mailbox",
        Behaviour::Hang | Behaviour::Break | Behaviour::Reset => return Ok(false),
    };
    say(stream, reply).await?;
    Ok(true)
}

async fn say(stream: &mut BufStream<TcpStream>, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// The mail up to its lone dot; `None` if the connection ends before.
async fn read_mail(stream: &mut BufStream<TcpStream>) -> std::io::Result<Option<String>> {
    let mut mail = Vec::new();
    loop {
        let start = mail.len();
        if stream.read_until(b'\n', &mut mail).await? == 0 || mail.len() > MAIL_BYTES_MAX {
            return Ok(None);
        }
        if mail.get(start..) == Some(b".\r\n") {
            mail.truncate(start);
            return Ok(Some(String::from_utf8_lossy(&mail).into_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
