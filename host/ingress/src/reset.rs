//! Identity of the endpoint over restarts: after a crash, clients of the old process are told at once that it is gone.
//!
//! QUIC's stateless reset does this if the new process can make the tokens of the old one. So the reset key is derived
//! from the private key of the certificate, and connection ids are plain random bytes that any process accepts. Without
//! it, a client would wait for its idle time-out.
//!
//! The invariant: the key is a secret as good as the private key, and the same as long as that is.

use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};

/// Keeps this use of the private key apart from any other.
const PURPOSE: &[u8] = b"bugle/1 stateless reset";

/// Enough that ids of two processes never meet.
const CONNECTION_ID_BYTES: usize = 8;

/// Settings of an endpoint that answers for earlier processes with the same private key.
pub(crate) fn endpoint_config(key: &PrivateKeyDer<'_>) -> EndpointConfig {
    let secret = Sha256::new().chain_update(PURPOSE).chain_update(key.secret_der()).finalize();
    let mut config = EndpointConfig::new(Arc::new(ResetKey(Bytes::copy_from_slice(&secret))));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

struct ResetKey(Bytes);

impl ResetKey {
    fn mac(&self, data: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.mac(data).finalize().into_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.mac(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}

struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        getrandom::fill(&mut bytes).expect("the system has a source of randomness");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}
