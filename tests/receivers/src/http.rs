//! The HTTP receiver: keeps connections alive, misbehaves as its scripts say, writes every complete request down.
//!
//! Each path stands for one subscription and has its own script, which may change while it runs. Does not verify signatures. Whoever
//! asks under `/sent/IDEMPOTENCY-KEY` is told by 200 or 404 whether a request with it was taken, answered or not.
//!
//! Invariant: a call is `accepted` only if its whole answer was written to the connection.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bugle_checker::record::{Call, CallAnswer, Record};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::clock::now_us;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::request::Request;
use crate::script::{Behaviour, Script};

/// What is at one path.
#[derive(Clone, Debug)]
pub struct Route {
    /// Such as `/hook`.
    pub path: String,
    /// The subscription that calls it.
    pub subscription: String,
    /// How it misbehaves.
    pub script: Script,
}

/// A running receiver; it ends with its runtime.
#[derive(Clone, Debug)]
pub struct HttpReceiver {
    address: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    journal: Option<Journal>,
    routes: Mutex<Vec<Route>>,
    calls: Mutex<HashMap<(String, String), u32>>,
    /// Idempotency keys of what was not refused.
    taken: Mutex<HashSet<String>>,
    questions: AtomicU64,
    requests: AtomicU64,
    waiting: AtomicU64,
    waiting_max: AtomicU64,
    /// Nothing is answered before so many requests wait at once.
    held_until: AtomicU64,
    is_open: watch::Sender<bool>,
}

/// Connections that wait to be accepted: thousands may come at once.
const BACKLOG: u32 = 16 * 1024;

/// A hanging call ends here even if its caller never gives up.
const HANG_MAX: Duration = Duration::from_secs(120);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpReceiver {
    /// Serves on a free loopback port, on the current runtime.
    pub fn start(journal: Option<Journal>, routes: Vec<Route>) -> anyhow::Result<HttpReceiver> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(BACKLOG).context("could not listen for webhooks")?;
        let address = listener.local_addr()?;
        let inside = Arc::new(Inside {
            journal,
            routes: Mutex::new(routes),
            calls: Mutex::default(),
            taken: Mutex::default(),
            questions: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            waiting_max: AtomicU64::new(0),
            held_until: AtomicU64::new(0),
            is_open: watch::Sender::new(true),
        });
        tokio::spawn(accept(listener, Arc::clone(&inside)));
        Ok(HttpReceiver { address, inside })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how a path misbehaves from the next request on.
    pub fn rewrite(&self, path: &str, script: Script) {
        for route in locked(&self.inside.routes).iter_mut().filter(|route| route.path == path) {
            route.script = script.clone();
        }
    }

    /// Answers nothing before so many requests wait at once.
    pub fn hold(&self, until: u64) {
        self.inside.held_until.store(until, Ordering::Relaxed);
        self.inside.is_open.send_replace(false);
    }

    /// How often somebody asked whether a request was taken.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.inside.questions.load(Ordering::Relaxed)
    }

    /// Complete requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inside.requests.load(Ordering::Relaxed)
    }

    /// The most requests that waited for their answer at once.
    #[must_use]
    pub fn waiting_max(&self) -> u64 {
        self.inside.waiting_max.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, inside: Arc<Inside>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let inside = Arc::clone(&inside);
                // A connection that breaks (a kill does that) is the caller's affair.
                tokio::spawn(async move { drop(inside.talk(stream).await) });
            }
            // Out of files: those in use will be given back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It can be used again.
    GoesOn,
    /// It is closed.
    Closes,
    /// It is reset: the caller hears so before it hears anything else.
    Resets,
}

type Goes = std::io::Result<Then>;

impl Inside {
    async fn talk(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.split();
        let mut reader = BufReader::new(reader);
        let mut then = Then::Closes;
        while let Some(request) = Request::read(&mut reader).await? {
            let at_us = now_us();
            if request.method == "GET" && request.path == "/stats" {
                say(&mut writer, 200, "", &self.stats()).await?;
                continue;
            }
            if let ("GET", Some(key)) = (request.method.as_str(), request.path.strip_prefix("/sent/")) {
                self.questions.fetch_add(1, Ordering::Relaxed);
                let is_taken = locked(&self.taken).contains(key);
                say(&mut writer, if is_taken { 200 } else { 404 }, "", "").await?;
                continue;
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
            self.waiting_max.fetch_max(waiting, Ordering::Relaxed);
            if waiting >= self.held_until.load(Ordering::Relaxed) {
                self.is_open.send_replace(true);
            }
            let goes_on = self.answer(&request, at_us, &mut reader, &mut writer).await;
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            then = goes_on?;
            if then != Then::GoesOn {
                break;
            }
        }
        if then == Then::Resets {
            stream.set_zero_linger()?;
        }
        Ok(())
    }

    async fn answer(
        &self,
        request: &Request,
        at_us: u64,
        reader: &mut BufReader<ReadHalf<'_>>,
        writer: &mut WriteHalf<'_>,
    ) -> Goes {
        let path = request.path.split('?').next().unwrap_or_default();
        let route = locked(&self.routes).iter().find(|route| route.path == path).cloned();
        let Some(route) = route else { return say(writer, 404, "", "nothing here").await };
        let mut is_open = self.is_open.subscribe();
        tokio::select! {
            _ = is_open.wait_for(|is_open| *is_open) => {}
            _ = reader.fill_buf() => return Ok(Then::Closes),
        }
        let identity = Identity::of_request(request);
        let behaviour = self.decide(&route, identity.as_ref());
        if let Some(identity) = identity.as_ref().filter(|_| behaviour.takes()) {
            locked(&self.taken).insert(identity.idempotency_key.clone());
        }
        let outcome = perform(&route.script, behaviour, reader, writer).await;
        let answer = match (&outcome, behaviour) {
            (Ok(Then::GoesOn), Behaviour::Accept) => CallAnswer::Accepted,
            (Ok(Then::GoesOn), _) => CallAnswer::Refused,
            (Ok(Then::Closes | Then::Resets) | Err(_), _) => CallAnswer::Aborted,
        };
        if let (Some(journal), Some(identity)) = (&self.journal, identity) {
            journal.write(Record::Call(Call {
                at_us,
                done_us: now_us(),
                subscription: route.subscription,
                source: identity.source,
                id: identity.id,
                effect: String::new(),
                idempotency_key: identity.idempotency_key,
                answer,
            }));
        }
        outcome
    }

    fn decide(&self, route: &Route, identity: Option<&Identity>) -> Behaviour {
        let id = identity.map(|identity| identity.id.clone()).unwrap_or_default();
        let mut calls = locked(&self.calls);
        let count = calls.entry((route.path.clone(), id.clone())).or_default();
        *count += 1;
        route.script.decide(&id, *count)
    }

    fn stats(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (requests, waiting_max) = (read(&self.requests), read(&self.waiting_max));
        serde_json::json!({ "requests": requests, "waiting_max": waiting_max }).to_string()
    }
}

async fn perform(
    script: &Script,
    behaviour: Behaviour,
    reader: &mut BufReader<ReadHalf<'_>>,
    writer: &mut WriteHalf<'_>,
) -> Goes {
    let wait = if behaviour == Behaviour::Hang { HANG_MAX } else { script.delay };
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The caller went away, or talks out of turn: either way this call gets no answer.
            _ = reader.fill_buf() => return Ok(Then::Closes),
        }
    }
    match behaviour {
        Behaviour::Accept => say(writer, 200, "", "taken").await,
        Behaviour::Fail => say(writer, 500, "", "the receiver stumbles").await,
        Behaviour::Busy => {
            let later = format!("retry-after: {}\r\n", script.retry_after_s);
            say(writer, 429, &later, "slow down").await
        }
        Behaviour::Reject => say(writer, 422, "", "not this one").await,
        Behaviour::Gone => say(writer, 410, "", "gone for good").await,
        Behaviour::Hang => Ok(Then::Closes),
        Behaviour::Reset => Ok(Then::Resets),
        Behaviour::Break => {
            writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await?;
            Ok(Then::Closes)
        }
    }
}

/// Writes a whole answer.
async fn say(writer: &mut WriteHalf<'_>, status: u16, headers: &str, text: &str) -> Goes {
    let reason = if status == 200 { "OK" } else { "No" };
    let length = text.len();
    let answer = format!("HTTP/1.1 {status} {reason}\r\n{headers}content-length: {length}\r\n\r\n{text}");
    writer.write_all(answer.as_bytes()).await?;
    writer.flush().await?;
    Ok(Then::GoesOn)
}

#[cfg(test)]
mod tests;
