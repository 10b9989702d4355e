//! Values of secrets in memory: signed with, injected, or revealed; never printed.
//!
//! It does not know who may use which secret. Invariant: no `Debug`, `Display` or error of this file holds the value.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};
use std::fmt;
use std::sync::Arc;

/// A secret's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.as_bytes().into())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Secret {
        Secret(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// Begins a secret of Standard Webhooks, whose rest is base64.
const STANDARD_WEBHOOKS: &[u8] = b"whsec_";

/// Standard alphabet, padded or not, as the plugin contract says.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    HmacSha256,
    HmacSha512,
}

impl Algorithm {
    pub(crate) fn from_word(word: &str) -> Option<Algorithm> {
        match word {
            "hmac-sha256" => Some(Algorithm::HmacSha256),
            "hmac-sha512" => Some(Algorithm::HmacSha512),
            _ => None,
        }
    }
}

/// The text after `whsec_` is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBase64;

impl Secret {
    /// The bytes as stored.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// MAC of `data`.
    pub(crate) fn sign(&self, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, NotBase64> {
        let decoded;
        let key: &[u8] = match self.0.strip_prefix(STANDARD_WEBHOOKS) {
            Some(text) => {
                decoded = BASE64.decode(text).map_err(|_| NotBase64)?;
                &decoded
            }
            None => &self.0,
        };
        Ok(match algorithm {
            Algorithm::HmacSha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }
            Algorithm::HmacSha512 => {
                let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes a key of any length");
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn signs_as_rfc_4231_says() {
        let secret = Secret::from("Jefe");
        let data = b"what do ya want for nothing?";
        assert_eq!(
            hex(&secret.sign(Algorithm::HmacSha256, data).unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(
            hex(&secret.sign(Algorithm::HmacSha512, data).unwrap()).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3")
        );
    }

    #[test]
    fn standard_webhooks_secrets_are_decoded() {
        // "Jefe" in base64, with and without padding.
        let plain = Secret::from("Jefe").sign(Algorithm::HmacSha256, b"x");
        for text in ["whsec_SmVmZQ==", "whsec_SmVmZQ"] {
            assert_eq!(Secret::from(text).sign(Algorithm::HmacSha256, b"x"), plain, "{text}");
        }
        assert_eq!(Secret::from("whsec_!").sign(Algorithm::HmacSha256, b"x"), Err(NotBase64));
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret(...)");
    }
}
