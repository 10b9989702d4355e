//! `secrets`: sign with one, or see it. Each use needs its line in the manifest and a value from the operator.
//!
//! Invariant: no error of this file holds a byte of a secret.

use bugle_core::code::Code;

use super::{denied, error};
use crate::bindings::bugle::plugin::{secrets, types};
use crate::calls::HostCalls;
use crate::manifest::SecretUse;
use crate::rights::SecretRefusal;
use crate::secret::Algorithm;
use crate::state::State;

/// Signed at once, as the plugin contract says.
const DATA_BYTES_MAX: usize = 1 << 20;

impl<C: HostCalls> secrets::Host for State<C> {
    fn sign(&mut self, name: String, algorithm: String, data: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        let secret = self.rights.secret(&name, SecretUse::Sign).map_err(refused)?;
        if data.len() > DATA_BYTES_MAX {
            return Err(error(Code::TooLarge, format!("at most {DATA_BYTES_MAX} bytes are signed")));
        }
        let algorithm = Algorithm::from_word(&algorithm)
            .ok_or_else(|| error(Code::Invalid, "the algorithm is `hmac-sha256` or `hmac-sha512`"))?;
        secret.sign(algorithm, &data).map_err(|_| {
            error(Code::Invalid, format!("secret `{name}` begins with `whsec_` but the rest is not base64"))
        })
    }

    fn reveal(&mut self, name: String) -> Result<Vec<u8>, types::Error> {
        let secret = self.rights.secret(&name, SecretUse::Reveal).map_err(refused)?;
        let (plugin, subscription) = (self.rights.plugin.as_str(), &*self.rights.subscription);
        tracing::info!(plugin, subscription, secret = name, "a plugin was shown a secret");
        Ok(secret.reveal().to_vec())
    }
}

fn refused(refusal: SecretRefusal) -> types::Error {
    match refusal {
        SecretRefusal::Denied(text) => denied(text),
        SecretRefusal::NoValue(text) => error(Code::NotFound, text),
    }
}
