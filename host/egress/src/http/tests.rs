//! TLS, HTTP/2, connections that are used again or broke, bounds, injected secrets: against servers in this process.

use super::*;
use crate::{Egress, Options};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn policy(origin: &str) -> Policy {
    Policy {
        asked: vec![origin.parse().unwrap()],
        granted: vec![origin.parse().unwrap()],
        networks: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        ..Policy::default()
    }
}

fn get(url: &str) -> Request {
    Request { method: "GET".to_owned(), url: url.to_owned(), ..Request::default() }
}

/// A TLS server on `localhost` that tells protocol, path and headers; its certificate, and how many connections it took.
async fn tls_server(alpn: &[&[u8]]) -> (SocketAddr, String, Arc<AtomicU32>) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let service = service_fn(|request: hyper::Request<Incoming>| async move {
                let secret = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                let text = format!("{:?} {} {}", request.version(), request.uri().path(), secret.unwrap_or("-"));
                Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(text))))
            });
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(tls), service).await);
            });
        }
    });
    (address, certified.cert.pem(), connections)
}

fn egress(pem: &str) -> Egress {
    Egress::new(Options { extra_roots_pem: pem.as_bytes().to_vec(), relay: None }).unwrap()
}

async fn fetch(client: &HttpClient, url: &str) -> Result<String, EgressError> {
    let evidence = Evidence::new();
    let answer = client.send(get(url), PATIENCE, &evidence).await?;
    assert_eq!(evidence.sent(), Sent::Answered);
    Ok(String::from_utf8(answer.body).unwrap())
}

#[test]
fn tls_speaks_http2_or_1_as_the_server_likes_and_reuses_connections() {
    run(async {
        for (alpn, version) in
            [(&[b"h2".as_slice(), b"http/1.1"][..], "HTTP/2.0"), (&[b"http/1.1".as_slice()][..], "HTTP/1.1")]
        {
            let (address, pem, connections) = tls_server(alpn).await;
            let origin = format!("https://localhost:{}", address.port());
            let client = egress(&pem).http(policy(&origin));
            for _ in 0..5 {
                assert_eq!(fetch(&client, &format!("{origin}/a?b#c")).await, Ok(format!("{version} /a -")));
            }
            assert_eq!(connections.load(Ordering::Relaxed), 1, "{version}");
        }
    });
}

#[test]
fn an_unknown_certificate_is_not_sent_to() {
    run(async {
        let (address, _, _) = tls_server(&[b"h2"]).await;
        let origin = format!("https://localhost:{}", address.port());
        let evidence = Evidence::new();
        let error = egress("").http(policy(&origin)).send(get(&origin), PATIENCE, &evidence).await.unwrap_err();
        assert_eq!((error.code(), evidence.sent()), ("not-sent", Sent::Nothing), "{error}");
    });
}

#[test]
fn a_bound_secret_goes_to_its_origin_and_cannot_be_set() {
    run(async {
        let (address, pem, _) = tls_server(&[b"h2"]).await;
        let (other_address, other_pem, _) = tls_server(&[b"h2"]).await;
        let origin = format!("https://localhost:{}", address.port());
        let other = format!("https://localhost:{}", other_address.port());
        let mut policy = policy(&origin);
        policy.asked.push(other.parse().unwrap());
        policy.granted.push(other.parse().unwrap());
        let header = HeaderName::from_static("authorization");
        policy.injected.push((origin.parse().unwrap(), header, HeaderValue::from_static("Bearer sesame")));
        let client = egress(&format!("{pem}{other_pem}")).http(policy);
        assert!(fetch(&client, &origin).await.unwrap().ends_with("Bearer sesame"));
        assert!(fetch(&client, &other).await.unwrap().ends_with('-'));
        let mut request = get(&origin);
        request.headers.push(("Authorization".to_owned(), "mine".to_owned()));
        let error = client.send(request, PATIENCE, &Evidence::new()).await.unwrap_err();
        assert_eq!(error.code(), "denied");
    });
}

#[test]
fn refusals_come_before_any_connection() {
    run(async {
        let client = egress("").http(policy("https://api.example.com"));
        let refuse = async |request: Request| {
            let evidence = Evidence::new();
            let error = client.send(request, PATIENCE, &evidence).await.unwrap_err();
            assert_eq!(evidence.sent(), Sent::Nothing);
            error.code()
        };
        assert_eq!(refuse(get("https://other.example")).await, "denied");
        assert_eq!(refuse(get("http://api.example.com")).await, "denied");
        assert_eq!(refuse(get("https://api.example.com@other.example/")).await, "invalid");
        assert_eq!(refuse(get("https://api.example.com\r\nx: y")).await, "invalid");
        assert_eq!(refuse(get("/relative")).await, "invalid");
        for method in ["get", "", "CONNECT", "TRACE", "GET /", "G\u{c4}T"] {
            assert_eq!(
                refuse(Request { method: method.to_owned(), ..get("https://api.example.com") }).await,
                "invalid"
            );
        }
        let body = vec![0; REQUEST_BODY_BYTES_MAX + 1];
        assert_eq!(refuse(Request { body, ..get("https://api.example.com") }).await, "too-large");
        let headers = vec![("x".to_owned(), "y".to_owned()); 65];
        assert_eq!(refuse(Request { headers, ..get("https://api.example.com") }).await, "too-large");
    });
}

#[test]
fn a_peer_that_accepts_and_closes_before_reading_leaves_an_honest_doubt() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                drop(tcp);
            }
        });
        let client = egress("").http(policy(&origin));
        for _ in 0..20 {
            let evidence = Evidence::new();
            let error = client.send(get(&origin), PATIENCE, &evidence).await.unwrap_err();
            // Both can happen; what must not happen is that code and evidence disagree.
            match evidence.sent() {
                Sent::Nothing => assert_eq!(error.code(), "not-sent"),
                Sent::Maybe => assert_eq!(error.code(), "maybe-sent"),
                Sent::Answered => panic!("nobody answered"),
            }
        }
    });
}

#[test]
fn a_kept_connection_that_is_known_to_be_closed_is_replaced() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut head = [0; 1024];
                drop(tcp.read(&mut head).await);
                drop(tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbye").await);
            }
        });
        let client = egress("").http(policy(&origin));
        let parsed: Origin = origin.parse().unwrap();
        for _ in 0..5 {
            assert_eq!(fetch(&client, &origin).await.as_deref(), Ok("bye"));
            let closed = async {
                while !client.0.kept.are_all_closed(&parsed) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, closed).await.unwrap();
        }
    });
}
