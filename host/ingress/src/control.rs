//! The control stream of a session: questions in; receipts, answers and the farewell out.
//!
//! Two halves that run beside each other. The writer is the only one that writes; the reader takes one question at a
//! time, so that a client can't make the host remember many.
//!
//! The invariant: credit of a batch is given back to the session only after its receipt was written.

use std::sync::Arc;
use std::time::Duration;

use bugle_core::ids::Name;
use bugle_core::publish::IdState;
use bugle_wire::schema::{GoAway, Query, QueryResult, QueryStatus, Refusal};
use bugle_wire::{Code, Frame};
use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::convert::place;
use crate::frame_reader::FrameReader;
use crate::port::Publish;
use crate::receipts;
use crate::results::Results;
use crate::session_error::SessionError;

/// Longest wait for a client to take the last frame.
const LAST_FRAME_TIMEOUT: Duration = Duration::from_secs(1);

/// The writing half.
pub(crate) struct ControlWriter {
    send: SendStream,
    /// Set while a frame is being written: after a cut, nothing can follow it.
    is_inside_frame: bool,
}

impl ControlWriter {
    pub(crate) fn new(send: SendStream) -> Self {
        Self { send, is_inside_frame: false }
    }

    pub(crate) async fn write(&mut self, frames: Bytes) -> Result<(), SessionError> {
        self.is_inside_frame = true;
        self.send.write_chunk(frames).await?;
        self.is_inside_frame = false;
        Ok(())
    }

    /// Writes what the session has to say until the host stops. Returns only with an error.
    pub(crate) async fn run(
        &mut self,
        results: &Arc<Results>,
        answers: &mut mpsc::Receiver<Frame>,
        mut stopping: watch::Receiver<bool>,
        grace: Duration,
    ) -> Result<(), SessionError> {
        let mut end = None;
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                (batch, held_bytes) = results.take() => {
                    self.write(receipts::frames(batch)).await?;
                    results.credit.give_back(held_bytes);
                }
                Some(frame) = answers.recv() => self.write(frame.to_bytes()).await?,
                true = is_stopping(&mut stopping), if end.is_none() => {
                    let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                    let detail = "the host is shutting down; connect again in a moment".to_owned();
                    self.write(Frame::GoAway(GoAway { code: Code::GOING_AWAY.number(), detail, grace_ms }).to_bytes()).await?;
                    end = Some(Instant::now() + grace);
                }
                () = sleep_until(end.unwrap_or(far)), if end.is_some() => {
                    return Err(SessionError::Host { code: Code::GOING_AWAY, detail: "the host is shutting down" });
                }
            }
        }
    }

    /// Writes a last frame, unless another one was cut, and waits a moment for the client to have it.
    pub(crate) async fn finish(mut self, last: &Frame) {
        if self.is_inside_frame {
            return;
        }
        // Whatever fails here, the close that follows carries the same code.
        let _ = tokio::time::timeout(LAST_FRAME_TIMEOUT, async {
            self.write(last.to_bytes()).await.ok()?;
            self.send.finish().ok()?;
            self.send.stopped().await.ok()
        })
        .await;
    }
}

/// Waits until the host stops; false if nobody can say so any more.
async fn is_stopping(stopping: &mut watch::Receiver<bool>) -> bool {
    stopping.wait_for(|stopping| *stopping).await.is_ok()
}

/// Answers questions until the client leaves. Returns only with an error.
pub(crate) async fn read<P: Publish>(
    reader: &mut FrameReader,
    host: &P,
    answers: &mpsc::Sender<Frame>,
) -> Result<(), SessionError> {
    while let Some(frame) = reader.next().await? {
        let Frame::Query(query) = Frame::decode_from_client(&frame)? else {
            let detail = "after the hello only queries are allowed on the control stream";
            return Err(SessionError::client(Code::UNEXPECTED_FRAME, detail));
        };
        let answer = answer(host, query).await?;
        // The other end is dropped only with the session.
        let _ = answers.send(Frame::QueryResult(answer)).await;
    }
    Err(SessionError::client(Code::UNEXPECTED_FRAME, "the control stream was finished; close the connection instead"))
}

async fn answer<P: Publish>(host: &P, query: Query) -> Result<QueryResult, SessionError> {
    let mut result = QueryResult { request: query.request, ..QueryResult::default() };
    let topic: Name = query.topic.as_str().into();
    match host.query(topic, query.source, query.id).await? {
        Some(IdState::Stored(position)) => {
            result.set_status(QueryStatus::Stored);
            (result.slot, result.offset) = place(position);
        }
        Some(IdState::NotInWindow) => result.set_status(QueryStatus::NotInWindow),
        None => {
            let detail = format!("topic `{}` does not exist", query.topic);
            let code = Code::UNKNOWN_TOPIC.number();
            result.refused = Some(Refusal { index: 0, code, retry_after_ms: None, detail });
        }
    }
    Ok(result)
}
