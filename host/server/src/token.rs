//! The admin token: made on first start, read by the CLI, compared in constant time.
//!
//! One token per data directory, in a file that only its owner can read. Knows nothing of HTTP.
//!
//! Invariant: the file is created with mode 0600 and a token in a file with wider rights is refused, not used.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Random bytes in a token: beyond guessing.
const TOKEN_BYTES: usize = 32;

/// The secret that opens the admin API. Prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(...)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can be read by others.
    #[error("the admin token `{file}` can be read by others (mode {mode:o}); run `chmod 600 {file}`, or delete it and start the host again for a new one", file = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// The file holds no token.
    #[error("the admin token `{}` is empty; delete it and start the host again for a new one", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read or written.
    #[error("could not read or write the admin token `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a new admin token")]
    Random,
}

impl Token {
    /// Reads the token, or makes one if there is no file.
    pub fn load_or_create(path: &Path) -> Result<Token, TokenError> {
        if path.exists() {
            return Token::load(path);
        }
        let mut bytes = [0u8; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| TokenError::Random)?;
        let token = Token(URL_SAFE_NO_PAD.encode(bytes));
        write_private(path, &token.0).map_err(|source| TokenError::Io { path: path.to_owned(), source })?;
        Ok(token)
    }

    /// Reads the token.
    pub fn load(path: &Path) -> Result<Token, TokenError> {
        let fail = |source| TokenError::Io { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(fail)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(TokenError::Exposed { path, mode });
        }
        let text = fs::read_to_string(path).map_err(fail)?;
        if text.trim().is_empty() {
            let path = path.to_owned();
            return Err(TokenError::Empty { path });
        }
        Ok(Token(text.trim().to_owned()))
    }

    /// The text to put after `Bearer`.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the offered text is the token, in a time that does not tell how much of it was right.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differing =
            own.iter().zip(offered.iter().chain(std::iter::repeat(&0))).fold(0u8, |seen, (a, b)| seen | (a ^ b));
        differing == 0 && own.len() == offered.len()
    }
}

/// Writes a file that only its owner can read, with its name, durably.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{Token, TokenError};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin-token");
        let first = Token::load_or_create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(Token::load_or_create(&path).unwrap(), first);
        assert!(first.reveal().len() >= 43);
        assert!(!format!("{first:?}").contains(first.reveal()));
    }

    #[test]
    fn only_the_whole_token_matches() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::load_or_create(&dir.path().join("t")).unwrap();
        let text = token.reveal().to_owned();
        assert!(token.matches(text.as_bytes()));
        for wrong in [
            String::new(),
            text[1..].to_owned(),
            text[..text.len() - 1].to_owned(),
            format!("{text}x"),
            format!("{text}\0"),
            text.to_uppercase(),
        ] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn an_exposed_or_empty_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin-token");
        Token::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Token::load(&path).unwrap_err();
        assert!(matches!(error, TokenError::Exposed { mode: 0o644, .. }));
        assert!(error.to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, " \n").unwrap();
        assert!(matches!(Token::load(&path).unwrap_err(), TokenError::Empty { .. }));
    }
}
