//! A guest's stdout and stderr: the end of what it wrote, for trap texts and the log, in bounded memory.
//!
//! Invariant: a guest can write for ever and the host holds at most [`KEPT_BYTES_MAX`] of it; writing never fails or waits.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What is kept: the last lines hold the panic message.
const KEPT_BYTES_MAX: usize = 4 << 10;
/// Granted per write, so that a guest cannot make the host take much at once.
const WRITE_BYTES_MAX: usize = 4 << 10;

/// The end of one guest's output; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Output {
    /// Takes out what was written since the last time, without control characters; `None` if there was nothing.
    pub(crate) fn take(&self) -> Option<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return None;
        }
        let bytes: Vec<u8> = kept.drain(..).collect();
        drop(kept);
        let text = printable(&String::from_utf8_lossy(&bytes));
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn append(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = bytes.get(bytes.len().saturating_sub(KEPT_BYTES_MAX)..).unwrap_or_default();
        let overflow = (kept.len() + newest.len()).saturating_sub(KEPT_BYTES_MAX);
        kept.drain(..overflow);
        kept.extend(newest);
    }
}

/// Text that cannot steer a terminal or fake a log line: line breaks become ` | `, other control characters `?`.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.trim_end().chars() {
        match letter {
            '\n' => shown.push_str(" | "),
            '\t' => shown.push(' '),
            '\r' => {}
            letter if letter.is_control() => shown.push('?'),
            letter => shown.push(letter),
        }
    }
    shown
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl Pollable for Output {
    fn ready<'me, 'out>(&'me mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'out>>
    where
        'me: 'out,
        Self: 'out,
    {
        Box::pin(std::future::ready(()))
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let output = Output::default();
        for _ in 0..1000 {
            output.append(&[b'a'; 100]);
        }
        output.append(b"the end\n");
        let text = output.take().unwrap();
        assert!(text.len() <= KEPT_BYTES_MAX && text.ends_with("athe end"), "{text}");
        assert_eq!(output.take(), None);
        output.append(&[b'b'; 3 * KEPT_BYTES_MAX]);
        assert_eq!(output.take().unwrap().len(), KEPT_BYTES_MAX);
    }

    #[test]
    fn control_characters_are_not_passed_on() {
        assert_eq!(printable("a\x1b[31m\nb\r\n"), "a?[31m | b");
    }
}
