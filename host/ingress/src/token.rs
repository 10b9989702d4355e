//! Bearer tokens: compared by hash, in constant time, against every accepted one.
//!
//! Knows no principals yet: a token is right or wrong. Tokens themselves are never kept or logged.

use sha2::{Digest, Sha256};

use crate::config::TokenHash;

/// Whether a token is among the accepted ones. How long this takes does not depend on the token's content.
pub(crate) fn is_accepted(token: &str, accepted: &[TokenHash]) -> bool {
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    accepted.iter().fold(false, |found, known| found | is_equal(&hash, &known.0))
}

fn is_equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right));
    // Keeps the compiler from leaving the loop early.
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_with_a_listed_hash_is_accepted() {
        let hash = |token: &str| TokenHash(Sha256::digest(token.as_bytes()).into());
        let accepted = [hash("one"), hash("two")];
        assert!(is_accepted("one", &accepted) && is_accepted("two", &accepted));
        for token in ["", "three", "on", "one "] {
            assert!(!is_accepted(token, &accepted), "{token}");
        }
        assert!(!is_accepted("one", &[]));
    }
}
