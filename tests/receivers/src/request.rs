//! Reading one HTTP/1.1 request: head, and a body by its length or in chunks.
//!
//! Just enough for clients that keep to the rules; it refuses the rest. Does not know what is answered.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::tcp::ReadHalf;

/// A complete request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Larger than any event; a test that sends more is wrong.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Longer lines are no request of ours.
const LINE_BYTES_MAX: u64 = 64 << 10;

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The next request of a connection; `None` when it ends between two requests.
    pub(crate) async fn read(stream: &mut BufReader<ReadHalf<'_>>) -> io::Result<Option<Request>> {
        let first = line(stream).await?;
        let mut words = first.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = line(stream).await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("a header has no colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Request { method, path, headers, body: Vec::new() };
        request.body = request.read_body(stream).await?;
        Ok(Some(request))
    }

    async fn read_body(&self, stream: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<u8>> {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return chunks(stream).await;
        }
        let length = self.header("content-length").map_or(Ok(0), str::parse);
        let length: usize = length.map_err(|_| bad("content-length is no number"))?;
        exactly(stream, length).await
    }
}

async fn chunks(stream: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| bad("a chunk has no size"))?;
        if size == 0 {
            while !line(stream).await?.is_empty() {}
            return Ok(body);
        }
        if body.len() + size > BODY_BYTES_MAX {
            return Err(bad("the body is too long"));
        }
        body.extend(exactly(stream, size).await?);
        line(stream).await?;
    }
}

async fn exactly(stream: &mut BufReader<ReadHalf<'_>>, length: usize) -> io::Result<Vec<u8>> {
    if length > BODY_BYTES_MAX {
        return Err(bad("the body is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn line(stream: &mut BufReader<ReadHalf<'_>>) -> io::Result<String> {
    let mut line = String::new();
    (&mut *stream).take(LINE_BYTES_MAX).read_line(&mut line).await?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
