//! The value of a done weak claim; end and number are in its key.
//!
//! Knows nothing of windows. Invariant: as of all codecs, any bytes give a row or an error.

use super::{Damaged, Reader, Row, Writer};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowValue {
    /// Business key.
    pub(crate) key: String,
    /// Answer to later claims.
    pub(crate) receipt: Option<Vec<u8>>,
}

impl Row for WindowValue {
    fn write(&self, out: &mut Writer<'_>) {
        out.text(&self.key);
        out.optional(self.receipt.as_deref(), Writer::bytes);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(WindowValue { key: from.text()?, receipt: from.optional(|from| from.bytes().map(<[u8]>::to_vec))? })
    }
}
