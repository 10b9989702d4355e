//! A host played by hand: real QUIC and TLS, no decisions. Each test says what it answers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bugle_client::{Client, ClientBuilder, Code};
use bugle_wire::schema::*;
use bugle_wire::{ALPN, Frame, FrameBuffer, Publish, limits};
use bytes::Bytes;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};

/// Longest wait for anything that must happen.
const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}

pub(crate) struct Host {
    endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: String,
    pub(crate) certificate_pem: String,
}

impl Host {
    pub(crate) fn start() -> Self {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let mut transport = TransportConfig::default();
        transport.max_concurrent_uni_streams(VarInt::from_u32(8));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let mut fingerprint = String::new();
        for byte in Sha256::digest(pair.cert.der()) {
            write!(fingerprint, "{byte:02x}").unwrap();
        }
        Self { endpoint, address, fingerprint, certificate_pem: pair.cert.pem() }
    }

    pub(crate) fn client(&self) -> ClientBuilder {
        Client::builder(&self.address.to_string()).producer("shop").server_fingerprint(&self.fingerprint)
    }

    /// Waits for a connection and its hello.
    pub(crate) async fn accept(&self) -> Peer {
        soon(async {
            let connection = self.endpoint.accept().await.unwrap().await.unwrap();
            let (send, recv) = connection.accept_bi().await.unwrap();
            let mut control = Reader { recv, buffer: FrameBuffer::new(limits::FRAME_BYTES_MAX) };
            let Frame::Hello(hello) = control.frame().await else { panic!("the first frame is a hello") };
            Peer { connection, send, control, hello, publish: HashMap::new() }
        })
        .await
    }

    /// Waits for a connection whose handshake the client breaks off.
    pub(crate) async fn accept_fails(&self) {
        let connecting = soon(self.endpoint.accept()).await.unwrap().accept().unwrap();
        assert!(soon(connecting).await.is_err());
    }

    /// Accepts and welcomes a client that connects at the same time.
    pub(crate) async fn welcome(&self, builder: ClientBuilder) -> (Client, Peer) {
        let accept = async {
            let mut peer = self.accept().await;
            peer.welcome(1, &[]).await;
            peer
        };
        let (client, peer) = tokio::join!(builder.connect(), accept);
        (client.unwrap(), peer)
    }
}

struct Reader {
    recv: RecvStream,
    buffer: FrameBuffer,
}

impl Reader {
    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.buffer.next_frame().unwrap() {
                return Frame::decode_from_client(&frame).unwrap();
            }
            let chunk = self.recv.read_chunk(usize::MAX, true).await.unwrap().expect("the stream goes on");
            self.buffer.extend(&chunk.bytes);
        }
    }
}

/// One session, from the host's side.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    send: SendStream,
    control: Reader,
    pub(crate) hello: Hello,
    publish: HashMap<u64, Reader>,
}

impl Peer {
    pub(crate) async fn send(&mut self, frame: Frame) {
        self.send.write_all(&frame.to_bytes()).await.unwrap();
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn welcome(&mut self, epoch: u64, decided: &[(u32, u64)]) {
        self.welcome_as(b"store", epoch, decided).await;
    }

    /// As a host whose store has this identity.
    pub(crate) async fn welcome_as(&mut self, incarnation: &'static [u8], epoch: u64, decided: &[(u32, u64)]) {
        let limits = Limits {
            frame_bytes: 1 << 20,
            event_bytes: 1 << 18,
            credit_bytes: 1 << 22,
            batch_events: 4096,
            streams: 8,
        };
        let streams = decided.iter().map(|(stream, sequence)| StreamPosition { stream: *stream, sequence: *sequence });
        self.send(Frame::Welcome(Welcome {
            version: 1,
            session: 1,
            epoch,
            incarnation: Bytes::from_static(incarnation),
            limits: Some(limits),
            streams: streams.collect(),
        }))
        .await;
    }

    /// The next frame of the control stream.
    pub(crate) async fn control(&mut self) -> Frame {
        soon(self.control.frame()).await
    }

    /// The next frame of the `at`-th publish stream the client opened.
    pub(crate) async fn on_stream(&mut self, at: u64) -> Frame {
        soon(async {
            while !self.publish.contains_key(&at) {
                let recv = self.connection.accept_uni().await.unwrap();
                let index = recv.id().index();
                self.publish.insert(index, Reader { recv, buffer: FrameBuffer::new(limits::FRAME_BYTES_MAX) });
            }
            self.publish.get_mut(&at).unwrap().frame().await
        })
        .await
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        match self.on_stream(0).await {
            Frame::Publish(publish) => publish,
            other => panic!("not a publish frame: {other:?}"),
        }
    }

    /// Confirms a batch as new events from an offset on.
    pub(crate) async fn confirm(&mut self, batch: &Publish, first_offset: u64) {
        self.receipt(Receipt {
            stream: batch.stream,
            sequence: batch.sequence,
            first_offset,
            count: u32::try_from(batch.event_count()).unwrap(),
            ..Default::default()
        })
        .await;
    }

    pub(crate) async fn receipt(&mut self, receipt: Receipt) {
        self.send(Frame::Receipts(Receipts { receipts: vec![receipt] })).await;
    }

    pub(crate) async fn refuse(mut self, code: Code, retry_after_ms: Option<u64>) {
        let refused = Refused { code: code.number(), detail: "as the test wants".to_owned(), retry_after_ms };
        self.send(Frame::Refused(refused)).await;
        // Wait for the client, so that the answer is not lost with the connection.
        soon(self.connection.closed()).await;
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}
