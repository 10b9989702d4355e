//! Deliveries in one piece, for guests that export `packed-handler`: the form is said in `wit/exports.wit`.
//!
//! Invariant: it says of a delivery what [`crate::hand_over::delivery`] says of it.

use std::io::Write as _;

use crate::calls::HostCalls;
use crate::hand_over::business_key_parts;

/// Strings of a delivery beside its attributes.
const STRINGS: usize = 11;
/// The length of a string that is none.
const NONE: u32 = u32::MAX;
/// A buffer that grew beyond this gives its room back once a call needed less.
const ROOM_KEPT_BYTES: usize = 64 << 10;

/// Replaces what is in the buffer by these deliveries; `attribute` as in [`crate::hand_over::business_key`].
pub(crate) fn refill<C: HostCalls>(buffer: &mut Vec<u8>, calls: &[C], attribute: Option<&str>) {
    let was_small = buffer.len() <= ROOM_KEPT_BYTES;
    buffer.clear();
    if was_small {
        buffer.shrink_to(ROOM_KEPT_BYTES);
    }
    for call in calls {
        append(buffer, call, attribute);
    }
}

fn append<C: HostCalls>(buffer: &mut Vec<u8>, call: &C, attribute: Option<&str>) {
    let delivery = call.delivery();
    let stored = &delivery.event;
    let event = &stored.event;
    let mut attributes: Vec<(&str, &str)> = event.others().collect();
    attributes.sort_unstable();
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&delivery.ticket.0.to_le_bytes());
    buffer.extend_from_slice(&event.time().unwrap_or(stored.received).0.to_le_bytes());
    buffer.extend_from_slice(&delivery.deadline.0.to_le_bytes());
    buffer.extend_from_slice(&delivery.attempt.0.to_le_bytes());
    buffer.extend_from_slice(&length(attributes.len()).to_le_bytes());
    let mut lengths = Lengths { next: buffer.len() };
    buffer.resize(buffer.len() + 4 * (STRINGS + 2 * attributes.len()), 0);
    let mut put = |text: Option<&str>| lengths.put(buffer, text);
    put(Some(event.id()));
    put(Some(event.source()));
    put(Some(event.kind()));
    put(event.subject());
    put(Some(&call.topic()));
    lengths.put_written(buffer, |buffer| drop(write!(buffer, "{}", stored.position)));
    let mut put = |text: Option<&str>| lengths.put(buffer, text);
    put(event.key());
    put(event.content_type());
    put(Some(&delivery.idempotency_key));
    lengths.put_written(buffer, |buffer| {
        business_key_parts(event, attribute).iter().for_each(|part| buffer.extend(part.as_bytes()));
    });
    let mut put = |text: Option<&str>| lengths.put(buffer, text);
    put(Some(event.class().word()));
    for (name, value) in attributes {
        put(Some(name));
        put(Some(value));
    }
    buffer.extend_from_slice(event.data());
    let size = length(buffer.len() - start - 4);
    buffer[start..start + 4].copy_from_slice(&size.to_le_bytes());
}

/// Where the length of the next string goes.
struct Lengths {
    next: usize,
}

impl Lengths {
    fn put(&mut self, buffer: &mut Vec<u8>, text: Option<&str>) {
        match text {
            Some(text) => self.put_written(buffer, |buffer| buffer.extend_from_slice(text.as_bytes())),
            None => self.note(buffer, NONE),
        }
    }

    fn put_written(&mut self, buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let before = buffer.len();
        write(buffer);
        let bytes = length(buffer.len() - before);
        self.note(buffer, bytes);
    }

    fn note(&mut self, buffer: &mut [u8], bytes: u32) {
        buffer[self.next..self.next + 4].copy_from_slice(&bytes.to_le_bytes());
        self.next += 4;
    }
}

/// An event is far smaller than 4 GiB (`bugle_core::event`).
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(NONE - 1)
}

#[cfg(test)]
mod tests;
