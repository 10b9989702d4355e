//! A host played by hand behind the real listener, and a client that writes any bytes it likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bugle_core::ids::{Name, Offset, Position, ProducerEpoch, Sequence, SessionId, Slot, StreamId};
use bugle_core::publish::{Abandon, BatchOutcome, BatchResult, IdState, OpenSession, Opened, PublishBatch};
use bugle_ingress::{Config, Counters, Listener, Publish, Results, Stopped};
use bugle_wire::schema::{Hello, Receipt};
use bugle_wire::{ALPN, Code, EventWriter, Frame, FrameBuffer, PublishBody, PublishHead, limits};
use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Longest wait for anything that must happen.
const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}

/// What the script saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Open(OpenSession),
    Batch(PublishBatch, Arc<Results>),
    Abandon(Abandon),
    Close(SessionId),
}

/// The host's part: writes down what comes and answers only what the test says.
#[derive(Clone)]
pub(crate) struct Script {
    seen: mpsc::UnboundedSender<Seen>,
    streams: Arc<Mutex<Vec<(StreamId, Sequence)>>>,
    is_stopped: Arc<Mutex<bool>>,
}

impl Publish for Script {
    type Sink = Arc<Results>;

    fn sink(&self, results: Arc<Results>) -> Arc<Results> {
        results
    }

    async fn open(&self, open: OpenSession) -> Result<Opened, Stopped> {
        let epoch = open.epoch.unwrap_or(ProducerEpoch(1));
        self.seen.send(Seen::Open(open)).unwrap();
        Ok(Opened { epoch, streams: self.streams.lock().unwrap().clone() })
    }

    async fn publish(&self, batch: PublishBatch, sink: &Arc<Results>) -> Result<(), Stopped> {
        if *self.is_stopped.lock().unwrap() {
            return Err(Stopped);
        }
        self.seen.send(Seen::Batch(batch, sink.clone())).map_err(|_| Stopped)
    }

    async fn query(&self, topic: Name, _source: String, id: String) -> Result<Option<IdState>, Stopped> {
        Ok((*topic == *"orders").then(|| match &*id {
            "stored" => IdState::Stored(position(9)),
            _ => IdState::NotInWindow,
        }))
    }

    fn abandon(&self, abandon: Abandon) {
        self.seen.send(Seen::Abandon(abandon)).unwrap();
    }

    fn close(&self, session: SessionId) {
        // The test may be over.
        let _ = self.seen.send(Seen::Close(session));
    }
}

pub(crate) fn position(offset: u64) -> Position {
    Position { slot: Slot(0), offset: Offset(offset) }
}

/// A batch stored as new events from an offset on.
pub(crate) fn stored(batch: &PublishBatch, first: u64) -> BatchResult {
    let stored = u32::try_from(batch.events.len()).unwrap();
    let outcome =
        BatchOutcome::Stored { first: Some(position(first)), stored, duplicates: Vec::new(), refused: Vec::new() };
    BatchResult { stream: batch.stream, sequence: batch.sequence, outcome }
}

/// A running listener with its script.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: String,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dir: TempDir,
    seen: mpsc::UnboundedReceiver<Seen>,
    script: Script,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// Settings on a free port.
pub(crate) fn config(dir: &Path) -> Config {
    Config { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Config::development(dir.to_owned()) }
}

impl Host {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let listener = Listener::bind(config).unwrap();
        let (address, fingerprint) = (listener.local_address().unwrap(), listener.fingerprint().to_string());
        let counters = listener.counters();
        let (seen_tx, seen) = mpsc::unbounded_channel();
        let script = Script { seen: seen_tx, streams: Arc::default(), is_stopped: Arc::default() };
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(listener.run(script.clone(), async {
            // A dropped sender stops the host too.
            let _ = stopped.await;
        }));
        Self { address, fingerprint, counters, dir, seen, script, stop: Some(stop), running }
    }

    /// The next thing the script saw.
    pub(crate) async fn seen(&mut self) -> Seen {
        soon(self.seen.recv()).await.unwrap()
    }

    /// The next batch; sessions that open or close meanwhile are passed over.
    pub(crate) async fn batch(&mut self) -> (PublishBatch, Arc<Results>) {
        loop {
            if let Seen::Batch(batch, results) = self.seen().await {
                return (batch, results);
            }
        }
    }

    /// Waits until a session is closed.
    pub(crate) async fn closed(&mut self, session: u64) {
        while !matches!(self.seen().await, Seen::Close(closed) if closed.0 == session) {}
    }

    /// The store failed: nothing is taken any more.
    pub(crate) fn fail(&self) {
        *self.script.is_stopped.lock().unwrap() = true;
    }

    /// What the next session is told about its streams.
    pub(crate) fn remember(&self, stream: u32, sequence: u64) {
        self.script.streams.lock().unwrap().push((StreamId(stream), Sequence(sequence)));
    }

    /// Asks the host to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stopped(self) {
        soon(self.running).await.unwrap();
    }

    /// A connection without a word on it yet.
    pub(crate) async fn connect(&self) -> Result<Connection, ConnectionError> {
        self.connect_as(ALPN).await
    }

    pub(crate) async fn connect_as(&self, alpn: &[u8]) -> Result<Connection, ConnectionError> {
        connect_raw(self.address, self.dir.path(), alpn).await
    }

    /// A connection with a control stream on which these bytes were written.
    pub(crate) async fn say(&self, bytes: &[u8]) -> RawClient {
        open_raw(self.address, self.dir.path(), bytes).await
    }

    /// A welcomed session and its number.
    pub(crate) async fn session(&self) -> (RawClient, u64) {
        let mut client = self.say(&hello().to_bytes()).await;
        match client.frame().await {
            Frame::Welcome(welcome) => (client, welcome.session),
            other => panic!("not welcomed: {other:?}"),
        }
    }
}

/// A connection to a listener whose development certificate is in `dir`.
async fn connect_raw(address: SocketAddr, dir: &Path, alpn: &[u8]) -> Result<Connection, ConnectionError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("quic-cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    soon(endpoint.connect_with(config, address, "localhost").unwrap()).await
}

/// A connection with a control stream on which these bytes were written.
pub(crate) async fn open_raw(address: SocketAddr, dir: &Path, bytes: &[u8]) -> RawClient {
    let connection = connect_raw(address, dir, ALPN).await.unwrap();
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    RawClient { connection, send, recv, buffer: FrameBuffer::new(limits::FRAME_BYTES_MAX) }
}

pub(crate) fn hello() -> Frame {
    Frame::Hello(Hello { versions: vec![7, 1], producer: "shop".into(), client: "test".into(), ..Hello::default() })
}

pub(crate) fn event(id: &str, payload_bytes: usize) -> Bytes {
    let mut writer = EventWriter::new(id, "https://shop.example", "order.paid");
    writer.binary_data(&vec![b'x'; payload_bytes]);
    writer.finish()
}

/// A publish frame with its length.
pub(crate) fn publish(stream: u32, sequence: u64, events: &[Bytes]) -> Bytes {
    publish_to("orders", stream, sequence, events)
}

pub(crate) fn publish_to(topic: &str, stream: u32, sequence: u64, events: &[Bytes]) -> Bytes {
    let mut body = PublishBody::new(topic, 0);
    for event in events {
        body.push(event);
    }
    let mut out = BytesMut::new();
    PublishHead { stream, sequence, retry: false }.encode(body.bytes_len(), &mut out);
    out.extend_from_slice(&body.finish());
    out.freeze()
}

/// A client that writes bytes and reads frames.
pub(crate) struct RawClient {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    recv: RecvStream,
    buffer: FrameBuffer,
}

impl RawClient {
    /// The next frame of the control stream.
    pub(crate) async fn frame(&mut self) -> Frame {
        soon(async {
            loop {
                if let Some(frame) = self.buffer.next_frame().unwrap() {
                    return Frame::decode_from_host(&frame).unwrap();
                }
                let chunk = self.recv.read_chunk(usize::MAX, true).await.unwrap().expect("the stream goes on");
                self.buffer.extend(&chunk.bytes);
            }
        })
        .await
    }

    pub(crate) async fn receipts(&mut self) -> Vec<Receipt> {
        match self.frame().await {
            Frame::Receipts(receipts) => receipts.receipts,
            other => panic!("not receipts: {other:?}"),
        }
    }

    /// Opens a publish stream and writes bytes on it.
    pub(crate) async fn publish(&self, bytes: &[u8]) -> SendStream {
        let mut send = soon(self.connection.open_uni()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        send
    }

    /// The code of the frame that ends it and of the QUIC close, which must agree.
    pub(crate) async fn ended(&mut self) -> Code {
        let said = match self.frame().await {
            Frame::Refused(refused) => refused.code,
            Frame::Error(error) => error.code,
            other => panic!("not an end: {other:?}"),
        };
        assert_eq!(self.close_code().await, Code::from_number(said));
        Code::from_number(said)
    }

    pub(crate) async fn close_code(&self) -> Code {
        match soon(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => {
                Code::from_number(u32::try_from(close.error_code.into_inner()).unwrap())
            }
            other => panic!("not closed by the host: {other:?}"),
        }
    }
}

/// A listener on a thread and runtime of its own that confirms everything, and can vanish without a word.
pub(crate) struct HostProcess {
    vanish: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl HostProcess {
    pub(crate) fn start(config: Config) -> (Self, SocketAddr, String) {
        let (vanish, vanished) = std::sync::mpsc::channel();
        let (told, tell) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let listener = {
                let _entered = runtime.enter();
                Listener::bind(config).unwrap()
            };
            told.send((listener.local_address().unwrap(), listener.fingerprint().to_string())).unwrap();
            let (seen, mut batches) = mpsc::unbounded_channel();
            let script = Script { seen, streams: Arc::default(), is_stopped: Arc::default() };
            runtime.spawn(listener.run(script, std::future::pending()));
            runtime.spawn(async move {
                while let Some(seen) = batches.recv().await {
                    if let Seen::Batch(batch, results) = seen {
                        results.deliver(vec![stored(&batch, 1)]);
                    }
                }
            });
            // A dropped sender means the same.
            let _ = vanished.recv();
            // Waits for its threads: the last of them to end closes the socket.
            drop(runtime);
        });
        let (address, fingerprint) = tell.recv().unwrap();
        (Self { vanish, thread }, address, fingerprint)
    }

    /// Stops the runtime in the middle of whatever it does; returns when its socket is gone.
    pub(crate) fn kill(self) {
        drop(self.vanish);
        self.thread.join().unwrap();
    }
}
