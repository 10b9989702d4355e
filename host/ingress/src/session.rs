//! One welcomed session, from its first publish stream to its end.
//!
//! Joins the control stream and the publish streams in one task. Whatever ends one of them ends the session, and nothing
//! but the session.
//!
//! The invariant: when `run` returns, nothing of this client is read any more, and the host was told.

use std::sync::Arc;

use bugle_wire::schema::Error;
use bugle_wire::{Code, Frame};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::{Connection, VarInt};
use tokio::sync::{mpsc, watch};

use crate::control::{self, ControlWriter};
use crate::frame_reader::FrameReader;
use crate::handshake::OpenedSession;
use crate::listener::Door;
use crate::port::{Publish, Stopped};
use crate::publish_stream::{NumbersInUse, PublishStreams};
use crate::results::Results;
use crate::session_error::SessionError;
use crate::transport;

/// Answers waiting for the control stream; each reader has at most one, so this never fills up.
const ANSWERS_MAX: usize = 16;

pub(crate) struct Session<P: Publish> {
    pub(crate) opened: OpenedSession<P>,
    pub(crate) connection: Connection,
    pub(crate) writer: ControlWriter,
    pub(crate) reader: FrameReader,
}

impl<P: Publish> Session<P> {
    /// Serves the session until it ends, and ends it properly.
    pub(crate) async fn run(self, door: &Door<P>) {
        let Session { opened, connection, mut writer, mut reader } = self;
        let results = Arc::new(Results::new(door.pool.clone()));
        let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
        let streams = PublishStreams {
            session: opened.id,
            host: &opened.host,
            sink: opened.host.sink(results.clone()),
            results: &results,
            counters: &door.counters,
            numbers: NumbersInUse::default(),
            answers: answers.clone(),
        };
        let ended = tokio::select! {
            ended = writer.run(&results, &mut answered, door.stopping.clone(), door.config.grace) => ended,
            ended = control::read(&mut reader, &opened.host, &answers) => ended,
            ended = accept_streams(&connection, &streams) => ended,
            ended = follow_window(&connection, door.window()) => ended,
        };
        results.end();
        door.session_ended();
        let session = opened.id.0;
        // The host learns it before the client can come back.
        drop(opened);
        let Err(error) = ended else { return };
        match error {
            SessionError::Gone(reason) => tracing::info!(session, reason = %reason, "session ended"),
            SessionError::Host { code, detail } => {
                tracing::info!(session, code = %code, detail, "session ended by the host");
                say_and_close(
                    &connection,
                    writer,
                    Error { code: code.number(), detail: detail.into(), ..Error::default() },
                )
                .await;
            }
            SessionError::Client { code, detail, stream, sequence } => {
                door.counters.broken();
                tracing::warn!(session, code = %code, detail, stream, sequence, "session ended: the client broke the protocol");
                say_and_close(&connection, writer, Error { code: code.number(), detail, stream, sequence }).await;
            }
        }
    }
}

/// Serves every publish stream the client opens. Returns only with an error.
async fn accept_streams<P: Publish>(
    connection: &Connection,
    streams: &PublishStreams<'_, P>,
) -> Result<(), SessionError> {
    let mut serving = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = connection.accept_uni() => serving.push(streams.serve(accepted?)),
            Some(served) = serving.next() => served?,
        }
    }
}

/// Keeps the session's window at its share. Returns only when the host ends.
async fn follow_window(connection: &Connection, mut window: watch::Receiver<usize>) -> Result<(), SessionError> {
    loop {
        let bytes = *window.borrow_and_update();
        transport::set_window(connection, bytes);
        window.changed().await.map_err(|_| Stopped)?;
    }
}

async fn say_and_close(connection: &Connection, writer: ControlWriter, error: Error) {
    let code = Code::from_number(error.code);
    let frame = Frame::Error(error);
    writer.finish(&frame).await;
    if let Frame::Error(error) = frame {
        close(connection, code, &error.detail);
    }
}

/// Closes a connection with a code and a text.
pub(crate) fn close(connection: &Connection, code: Code, detail: &str) {
    connection.close(VarInt::from_u32(code.number()), detail.as_bytes());
}
