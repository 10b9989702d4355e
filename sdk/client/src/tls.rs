//! TLS of the client: version 1.3 only, the host known by its certificate's fingerprint or by certificate authorities.
//!
//! Knows nothing of QUIC streams or sessions. There is no mode that accepts any certificate.
//!
//! The invariant: with a fingerprint, exactly that certificate is accepted, and the host proved to hold its key.

use std::sync::Arc;

use bugle_wire::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// How the host's certificate is checked.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// SHA-256 of the certificate, as hexadecimal digits, colons allowed.
    Fingerprint(String),
    /// Certificate authorities in PEM.
    Authorities(Vec<u8>),
}

/// What is wrong with the trust settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("`{0}` is not a SHA-256 fingerprint; it has 64 hexadecimal digits")]
    Fingerprint(String),
    #[error("the certificate authorities are not PEM with at least one certificate")]
    Authorities,
    #[error("the TLS settings are not usable")]
    Unusable(#[source] Error),
}

pub(crate) fn client_config(trust: &Trust) -> Result<QuicClientConfig, TrustError> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TrustError::Unusable)?;
    let mut config = match trust {
        Trust::Fingerprint(text) => {
            let algorithms = provider.signature_verification_algorithms;
            let verifier = Pinned { fingerprint: parse_fingerprint(text)?, algorithms };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        Trust::Authorities(pem) => builder.with_root_certificates(roots(pem)?).with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    QuicClientConfig::try_from(config)
        .map_err(|_| TrustError::Unusable(Error::General("no initial cipher suite".into())))
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

fn roots(pem: &[u8]) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| TrustError::Authorities)?;
        roots.add(certificate).map_err(|_| TrustError::Authorities)?;
    }
    if roots.is_empty() {
        return Err(TrustError::Authorities);
    }
    Ok(roots)
}

fn parse_fingerprint(text: &str) -> Result<[u8; 32], TrustError> {
    let wrong = || TrustError::Fingerprint(text.to_owned());
    let digits: Vec<char> = text.chars().filter(|digit| *digit != ':').collect();
    let mut fingerprint = [0; 32];
    if digits.len() != 64 {
        return Err(wrong());
    }
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or_else(wrong)?;
            *byte = *byte << 4 | value;
        }
    }
    Ok(fingerprint)
}

/// Accepts one certificate, whatever names or dates it has.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Sha256::digest(end_entity).as_slice() == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::parse_fingerprint;

    #[test]
    fn fingerprints_have_64_digits_with_or_without_colons() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(parse_fingerprint(&plain).unwrap(), [0xab; 32]);
        assert_eq!(parse_fingerprint(&colons).unwrap(), [0xab; 32]);
        for wrong in ["", "ab", &"zz".repeat(32), &"é".repeat(64), &"ab".repeat(33)] {
            assert!(parse_fingerprint(wrong).is_err(), "{wrong}");
        }
    }
}
