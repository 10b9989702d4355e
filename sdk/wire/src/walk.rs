//! A borrowed walk over protobuf bytes: tags, varints, length-delimited fields, skipping.
//!
//! Knows the wire types of protobuf and nothing about any message. Groups, which proto3 does not have, are
//! malformed here.
//!
//! The invariant: it never reads past its slice and always moves forward, so a walk over n bytes ends in at most
//! n steps.

/// Bytes that are not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One field: its number and its value, still undecoded when length-delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32,
}

/// Cursor over the fields of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not walked yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next field with its number, or `None` at the end.
    #[inline(always)]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed64)?,
            2 => Field::Bytes(self.delimited()?),
            5 => self.take(4).map(|_| Field::Fixed32)?,
            _ => return Err(Malformed),
        };
        Ok(Some((number, field)))
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed)?;
        if first < 0x80 {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        // Lengths of payloads take two bytes; longer numbers are rare.
        if let Some((&second @ 0..0x80, rest)) = rest.split_first() {
            self.rest = rest;
            return Ok(u64::from(first & 0x7f) | u64::from(second) << 7);
        }
        self.long_varint()
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    #[inline(always)]
    fn delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| Malformed)?)
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_each_wire_type() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x25, 0, 0, 0, 0];
        let mut walk = Walk::new(&bytes);
        assert_eq!(walk.field(), Ok(Some((1, Field::Varint(150)))));
        assert_eq!(walk.field(), Ok(Some((2, Field::Bytes(b"hi")))));
        assert_eq!(walk.field(), Ok(Some((3, Field::Fixed64))));
        assert_eq!(walk.field(), Ok(Some((4, Field::Fixed32))));
        assert_eq!(walk.field(), Ok(None));
    }

    #[test]
    fn refuses_what_is_not_protobuf() {
        let bad: [&[u8]; 7] = [
            &[0x00, 0x00],                                                             // field number 0
            &[0x0b],                                                                   // group
            &[0x08],                                                                   // varint missing
            &[0x08, 0x80],                                                             // varint cut
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],       // over 64 bits
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // eleven bytes
            &[0x12, 0x05, b'h'],                                                       // longer than the rest
        ];
        for bytes in bad {
            assert_eq!(Walk::new(bytes).field(), Err(Malformed), "{bytes:02x?}");
        }
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Walk::new(&largest).field(), Ok(Some((1, Field::Varint(u64::MAX)))));
    }
}
