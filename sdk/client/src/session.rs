//! One session: writes what the queue gives, reads what the host answers, until the connection ends.
//!
//! Decides nothing about batches; the queue does. It does not reconnect; the driver does. Everything runs in the
//! driver's task: one writer per publish stream, one for questions, one reader.
//!
//! The invariant: when `run` returns, nothing of this session is written or read any more. It may be dropped at any
//! point; the queue then still holds every batch without an answer.

use bugle_wire::{Code, Frame, FrameBuffer, FrameError, schema};
use bytes::Bytes;
use futures_util::future::try_join_all;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};

use crate::shared::Shared;
use crate::stream::StreamError;

/// Bytes taken from the control stream at once.
const READ_BYTES: usize = 64 * 1024;

/// A welcomed connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) buffer: FrameBuffer,
    pub(crate) welcome: schema::Welcome,
    pub(crate) stream_count: u32,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    #[error("the connection ended")]
    Connection(#[from] ConnectionError),
    #[error("a publish stream ended")]
    Write(#[from] WriteError),
    #[error("the control stream ended")]
    Read(#[from] ReadError),
    #[error("the host closed the control stream")]
    ControlClosed,
    #[error("the host sent what can't be understood")]
    Frame(#[from] FrameError),
    #[error("the host sent a frame out of place")]
    OutOfPlace,
    #[error("the host's answers do not fit")]
    Stream(#[from] StreamError),
    #[error("the host ended the session: {code}: {detail}")]
    Error { code: Code, detail: String },
    #[error("the host goes away: {detail}")]
    GoneAway { detail: String },
}

impl Session {
    /// Runs until the session ends, and says why.
    pub(crate) async fn run(self, shared: &Shared) -> SessionEnd {
        let Session { connection, mut send, recv, buffer, stream_count, .. } = self;
        let writers = try_join_all((0..stream_count).map(|at| write_stream(&connection, shared, at)));
        let end = tokio::select! {
            Err(end) = writers => end,
            Err(end) = write_control(&mut send, shared) => end,
            end = read_control(recv, buffer, shared) => end,
        };
        let code = match &end {
            SessionEnd::Frame(error) => error.code(),
            SessionEnd::OutOfPlace | SessionEnd::Stream(_) => Code::UNEXPECTED_FRAME,
            SessionEnd::Connection(_)
            | SessionEnd::Write(_)
            | SessionEnd::Read(_)
            | SessionEnd::ControlClosed
            | SessionEnd::Error { .. }
            | SessionEnd::GoneAway { .. } => Code::from_number(0),
        };
        // The connection's own reason says more than the stream that noticed first.
        let reason = connection.close_reason();
        connection.close(VarInt::from_u32(code.number()), b"");
        match (end, reason) {
            (SessionEnd::Write(_) | SessionEnd::Read(_) | SessionEnd::ControlClosed, Some(reason)) => reason.into(),
            (end, _) => end,
        }
    }
}

enum Never {}

/// Writes one publish stream: each abandonment as soon as what was queued before it is written.
async fn write_stream(connection: &Connection, shared: &Shared, at: u32) -> Result<Never, SessionEnd> {
    let mut send = connection.open_uni().await?;
    let index = at as usize;
    let bell = shared.writers.get(index).ok_or(SessionEnd::OutOfPlace)?;
    loop {
        while let Some(frame) = next_abandon(shared, at) {
            send.write_chunk(frame).await?;
        }
        let outgoing = shared.queue().next_frame(index);
        match outgoing {
            Some(outgoing) => {
                shared.counters.frame(outgoing.head.len() + outgoing.body.len(), outgoing.retry);
                send.write_all_chunks(&mut [outgoing.head, outgoing.body]).await?;
            }
            None => bell.notified().await,
        }
    }
}

fn next_abandon(shared: &Shared, at: u32) -> Option<Bytes> {
    let written_through = shared.queue().written_through(at as usize);
    shared.requests().next_abandon(at + 1, written_through).map(|frame| frame.to_bytes())
}

async fn write_control(send: &mut SendStream, shared: &Shared) -> Result<Never, SessionEnd> {
    loop {
        let frame = shared.requests().next_query();
        match frame {
            Some(frame) => send.write_chunk(frame.to_bytes()).await?,
            None => shared.control.notified().await,
        }
    }
}

async fn read_control(mut recv: RecvStream, mut buffer: FrameBuffer, shared: &Shared) -> SessionEnd {
    let mut farewell = None;
    loop {
        match take_frames(&mut buffer, shared, &mut farewell) {
            Ok(()) => {}
            Err(end) => return end,
        }
        if let Some(detail) = farewell.take_if(|_| shared.queue().is_drained()) {
            return SessionEnd::GoneAway { detail };
        }
        match recv.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend(&chunk.bytes),
            Ok(None) => return SessionEnd::ControlClosed,
            Err(error) => return error.into(),
        }
    }
}

/// Takes every whole frame received so far.
fn take_frames(buffer: &mut FrameBuffer, shared: &Shared, farewell: &mut Option<String>) -> Result<(), SessionEnd> {
    while let Some(frame) = buffer.next_frame()? {
        match Frame::decode_from_host(&frame)? {
            Frame::Receipts(receipts) => take_receipts(shared, receipts)?,
            Frame::QueryResult(result) => shared.requests().answer_query(result),
            Frame::Abandoned(answer) => shared.requests().answer_abandon(&answer),
            Frame::GoAway(go_away) => {
                tracing::info!(detail = go_away.detail, "the host goes away");
                shared.queue().drain();
                *farewell = Some(go_away.detail);
            }
            Frame::Error(error) => {
                return Err(SessionEnd::Error { code: Code::from_number(error.code), detail: error.detail });
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Refused(_)
            | Frame::Publish(_)
            | Frame::Query(_)
            | Frame::Abandon(_) => return Err(SessionEnd::OutOfPlace),
        }
    }
    Ok(())
}

fn take_receipts(shared: &Shared, receipts: schema::Receipts) -> Result<(), SessionEnd> {
    let mut settled = Vec::with_capacity(receipts.receipts.len());
    let applied = shared.queue().apply(receipts, &mut settled);
    shared.settle(settled);
    shared.wake_writers();
    Ok(applied?)
}
