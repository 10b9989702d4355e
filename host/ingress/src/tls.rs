//! TLS of the listener: version 1.3 only, one certificate, ALPN `bugle/1`, no early data.
//!
//! Knows nothing of sessions.

use std::sync::Arc;

use bugle_wire::ALPN;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};

use crate::certificate::Certificate;

/// TLS settings, or the reason why the certificate and its key can't be used together.
pub(crate) fn server_config(certificate: &Certificate) -> Result<QuicServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Early data can be replayed by whoever recorded it.
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).map_err(|_| rustls::Error::General("no initial cipher suite".into()))
}

/// AES-128-GCM first: the cheapest suite where the processor has AES, and the packet cost is what counts.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider
}
