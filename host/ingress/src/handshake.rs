//! From a connection to a session: hello, version, token, and the host's consent.
//!
//! Everything here is done within one deadline and with small limits, since nobody is known yet. It decides who may
//! come in and nothing about epochs or sequences.
//!
//! The invariant: every session the host opened is closed with the host, whatever happens next.

use bugle_core::ids::{ProducerEpoch, SessionId};
use bugle_core::publish::{OpenSession, Opened};
use bugle_wire::schema::{Hello, Limits, Refused, StreamPosition, Welcome};
use bugle_wire::{Code, Frame, VERSION, limits};
use bytes::Bytes;
use quinn::{Connection, Incoming};

use crate::control::ControlWriter;
use crate::frame_reader::FrameReader;
use crate::listener::Door;
use crate::port::Publish;
use crate::session::{Session, close};
use crate::session_error::SessionError;
use crate::token;
use crate::transport;

/// When a client that comes during a shutdown may try again.
const RETRY_AFTER_MS: u64 = 1_000;

/// A session the host knows; closed with the host when dropped.
pub(crate) struct OpenedSession<P: Publish> {
    pub(crate) id: SessionId,
    pub(crate) host: P,
}

impl<P: Publish> Drop for OpenedSession<P> {
    fn drop(&mut self) {
        self.host.close(self.id);
    }
}

/// Takes a connection in, or turns it away with a reason. `None` when there is no session.
pub(crate) async fn take_in<P: Publish>(door: &Door<P>, incoming: Incoming) -> Option<Session<P>> {
    let deadline = tokio::time::Instant::now() + door.config.handshake;
    let connecting = incoming.accept().ok()?;
    let connection = tokio::time::timeout_at(deadline, connecting).await.ok()?.ok()?;
    let mut control = None;
    let welcomed = tokio::time::timeout_at(deadline, welcome(door, &connection, &mut control)).await;
    let error = match welcomed {
        Ok(Ok(session)) => return Some(session),
        Ok(Err(error)) => error,
        Err(_) => SessionError::client(Code::TIMEOUT, "no hello came in time").into(),
    };
    turn_away(&connection, control, error).await;
    None
}

/// Why a client is not welcomed, and when it may try again.
struct TurnedAway {
    error: SessionError,
    retry_after_ms: Option<u64>,
}

impl<E: Into<SessionError>> From<E> for TurnedAway {
    fn from(error: E) -> Self {
        Self { error: error.into(), retry_after_ms: None }
    }
}

async fn welcome<P: Publish>(
    door: &Door<P>,
    connection: &Connection,
    control: &mut Option<ControlWriter>,
) -> Result<Session<P>, TurnedAway> {
    let (send, recv) = connection.accept_bi().await?;
    let writer = control.insert(ControlWriter::new(send));
    let mut reader = FrameReader::new(recv, limits::HELLO_BYTES_MAX);
    let nothing = || SessionError::client(Code::UNEXPECTED_FRAME, "the first frame must be a hello");
    let frame = reader.next().await?.ok_or_else(nothing)?;
    let Frame::Hello(hello) = Frame::decode_from_client(&frame).map_err(SessionError::from)? else {
        return Err(nothing().into());
    };
    check(door, &hello)?;
    let id = door.next_session();
    let open =
        OpenSession { session: id, producer: hello.producer.as_str().into(), epoch: hello.epoch.map(ProducerEpoch) };
    // From here on the host may know the session, even if this future is dropped while it waits.
    let opened_session = OpenedSession { id, host: door.host.clone() };
    let opened = door
        .host
        .open(open)
        .await
        .map_err(|stopped| TurnedAway { error: stopped.into(), retry_after_ms: Some(RETRY_AFTER_MS) })?;
    tracing::info!(
        session = id.0,
        producer = hello.producer,
        client = hello.client,
        remote = %connection.remote_address(),
        epoch = opened.epoch.0,
        "session opened"
    );
    writer.write(Frame::Welcome(welcome_frame(door, id, &opened)).to_bytes()).await?;
    reader.set_limit(limits::FRAME_BYTES_MAX);
    let writer = control.take().ok_or_else(nothing)?;
    door.session_opened();
    transport::open_up(connection);
    Ok(Session { opened: opened_session, connection: connection.clone(), writer, reader })
}

fn check<P: Publish>(door: &Door<P>, hello: &Hello) -> Result<(), TurnedAway> {
    if !hello.versions.contains(&VERSION) {
        let detail = format!("this host speaks protocol version {VERSION} and the client does not");
        return Err(SessionError::client(Code::VERSION_UNSUPPORTED, detail).into());
    }
    let tokens = &door.config.tokens;
    if !tokens.is_empty() && !token::is_accepted(&hello.token, tokens) {
        let detail = "the token is missing or not one this host accepts";
        return Err(SessionError::client(Code::UNAUTHENTICATED, detail).into());
    }
    if *door.stopping.borrow() {
        let error = SessionError::Host { code: Code::GOING_AWAY, detail: "the host is shutting down" };
        return Err(TurnedAway { error, retry_after_ms: Some(RETRY_AFTER_MS) });
    }
    Ok(())
}

fn welcome_frame<P: Publish>(door: &Door<P>, session: SessionId, opened: &Opened) -> Welcome {
    let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let streams = opened.streams.iter();
    Welcome {
        version: VERSION,
        session: session.0,
        epoch: opened.epoch.0,
        incarnation: Bytes::copy_from_slice(&door.config.incarnation),
        limits: Some(Limits {
            frame_bytes: bytes(limits::FRAME_BYTES_MAX),
            event_bytes: bytes(limits::EVENT_BYTES_MAX),
            credit_bytes: bytes(limits::CREDIT_BYTES.min(door.config.waiting_bytes_max)),
            batch_events: bytes(limits::BATCH_EVENTS_MAX),
            streams: limits::STREAMS_MAX,
        }),
        streams: streams.map(|(stream, sequence)| StreamPosition { stream: stream.0, sequence: sequence.0 }).collect(),
    }
}

async fn turn_away(connection: &Connection, control: Option<ControlWriter>, turned_away: TurnedAway) {
    let TurnedAway { error, retry_after_ms } = turned_away;
    let (code, detail) = match &error {
        SessionError::Gone(_) => return,
        SessionError::Client { code, detail, .. } => (*code, detail.clone()),
        SessionError::Host { code, detail } => (*code, (*detail).to_owned()),
    };
    tracing::info!(remote = %connection.remote_address(), code = %code, detail, "turned a client away");
    if let Some(control) = control {
        control.finish(&Frame::Refused(Refused { code: code.number(), detail: detail.clone(), retry_after_ms })).await;
    }
    close(connection, code, &detail);
}
