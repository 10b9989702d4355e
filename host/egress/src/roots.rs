//! The one TLS client configuration: ring, the built-in web roots, and what the operator trusts beside them.
//!
//! It does not know who connects where.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

use crate::error::NewEgressError;

/// HTTP/2 first, since it carries many requests on one connection.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The configuration for HTTP.
pub(crate) fn http_config(extra_roots_pem: &[u8]) -> Result<ClientConfig, NewEgressError> {
    let mut config = client_config(extra_roots_pem)?;
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The configuration for any protocol.
pub(crate) fn client_config(extra_roots_pem: &[u8]) -> Result<ClientConfig, NewEgressError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in certificates(extra_roots_pem)? {
        roots.add(certificate).map_err(|error| NewEgressError::Roots { reason: error.to_string() })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The certificates of a PEM text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, NewEgressError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| NewEgressError::Roots { reason: error.to_string() })
}
