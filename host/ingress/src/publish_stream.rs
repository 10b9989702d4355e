//! One publish stream: reads frames, waits for credit, hands batches over in their order.
//!
//! Knows neither results nor other streams. It reads no further while a batch waits for credit or for the host.
//!
//! The invariant: at most one frame of a stream is in memory here, and batches go on in the order they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bugle_core::ids::{Name, Sequence, SessionId, StreamId};
use bugle_wire::schema::{Abandon, Abandoned};
use bugle_wire::{Code, Frame, Publish as PublishFrame, limits};
use quinn::RecvStream;
use tokio::sync::mpsc;

use crate::convert;
use crate::counters::Counters;
use crate::frame_reader::FrameReader;
use crate::port::{Publish, Stopped};
use crate::results::Results;
use crate::session_error::SessionError;

/// Which publish stream numbers of a session are in use, one bit each.
#[derive(Debug, Default)]
pub(crate) struct NumbersInUse(AtomicU32);

impl NumbersInUse {
    fn claim(&self, number: u32) -> Result<(), SessionError> {
        let wrong = |detail| Err(SessionError::client(Code::UNEXPECTED_FRAME, detail).on(number, 0));
        if !(1..=limits::STREAMS_MAX).contains(&number) {
            return wrong("publish streams are numbered from 1 to 8");
        }
        if self.0.fetch_or(1 << number, Ordering::Relaxed) & 1 << number != 0 {
            return wrong("this publish stream number is in use on another QUIC stream");
        }
        Ok(())
    }

    fn release(&self, number: u32) {
        self.0.fetch_and(!(1 << number), Ordering::Relaxed);
    }
}

/// What the publish streams of a session share.
pub(crate) struct PublishStreams<'a, P: Publish> {
    pub(crate) session: SessionId,
    pub(crate) host: &'a P,
    pub(crate) sink: P::Sink,
    pub(crate) results: &'a Arc<Results>,
    pub(crate) counters: &'a Counters,
    pub(crate) numbers: NumbersInUse,
    /// Frames for the control stream.
    pub(crate) answers: mpsc::Sender<Frame>,
}

impl<P: Publish> PublishStreams<'_, P> {
    /// Serves one QUIC stream until the client finishes it.
    pub(crate) async fn serve(&self, recv: RecvStream) -> Result<(), SessionError> {
        let mut reader = FrameReader::new(recv, limits::FRAME_BYTES_MAX);
        let Some(first) = self.next(&mut reader, 0).await? else {
            return Ok(());
        };
        let number = stream_of(&first)?;
        self.numbers.claim(number)?;
        let mut topic: Name = "".into();
        let mut next = Some(first);
        while let Some(frame) = next {
            if stream_of(&frame)? != number {
                let detail = "a QUIC stream carries the frames of one publish stream number";
                return Err(SessionError::client(Code::UNEXPECTED_FRAME, detail).on(number, 0));
            }
            match frame {
                Frame::Publish(publish) => self.publish(&publish, &mut topic).await?,
                Frame::Abandon(abandon) => self.abandon(abandon).await,
                _ => return Err(out_of_place()),
            }
            next = self.next(&mut reader, number).await?;
        }
        self.numbers.release(number);
        Ok(())
    }

    async fn next(&self, reader: &mut FrameReader, number: u32) -> Result<Option<Frame>, SessionError> {
        let frame = reader.next().await.map_err(|error| error.on(number, 0))?;
        let decoded = frame.map(|frame| Frame::decode_from_client(&frame)).transpose();
        decoded.map_err(|error| SessionError::from(error).on(number, 0))
    }

    async fn publish(&self, publish: &PublishFrame, topic: &mut Name) -> Result<(), SessionError> {
        self.counters.frame(publish.event_count(), publish.bytes_len());
        let batch_id = (StreamId(publish.stream), Sequence(publish.sequence));
        let taken = self.results.credit.take(batch_id, publish.bytes_len()).await.map_err(|_| Stopped)?;
        if taken.is_err() {
            let detail = "a batch with this sequence is still waiting for its receipt";
            return Err(SessionError::client(Code::UNEXPECTED_FRAME, detail).on(publish.stream, publish.sequence));
        }
        if **topic != *publish.topic() {
            *topic = publish.topic().into();
        }
        let batch = convert::batch(self.session, topic.clone(), publish);
        Ok(self.host.publish(batch, &self.sink).await?)
    }

    async fn abandon(&self, abandon: Abandon) {
        self.host.abandon(convert::abandon(self.session, &abandon));
        let Abandon { stream, topic, source, id } = abandon;
        let answer = Frame::Abandoned(Abandoned { stream, topic, source, id });
        // The other end is dropped only with the session.
        let _ = self.answers.send(answer).await;
    }
}

/// Number of the publish stream a frame belongs to.
fn stream_of(frame: &Frame) -> Result<u32, SessionError> {
    match frame {
        Frame::Publish(publish) => Ok(publish.stream),
        Frame::Abandon(abandon) => Ok(abandon.stream),
        _ => Err(out_of_place()),
    }
}

fn out_of_place() -> SessionError {
    let detail = "only publish and abandon frames are allowed on a publish stream";
    SessionError::client(Code::UNEXPECTED_FRAME, detail)
}
