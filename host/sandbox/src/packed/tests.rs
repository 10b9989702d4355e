//! The bytes, read back by the letter of `wit/exports.wit`, say what the typed delivery says.

use super::*;
use crate::bindings::bugle::plugin::types;
use crate::hand_over;
use bugle_core::delivery::{CallEnd, Delivery};
use bugle_core::event::{Class, Event, Index, Span, StoredEvent};
use bugle_core::ids::{Attempt, Name, Offset, Position, Slot, Ticket, TopicId};
use bugle_core::import::{Import, ImportResult, Reply};
use bugle_core::time::Timestamp;

struct Call(Delivery);

impl HostCalls for Call {
    fn delivery(&self) -> &Delivery {
        &self.0
    }

    fn topic(&self) -> Name {
        "orders.eu".into()
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    async fn import(&mut self, _: Import) -> ImportResult {
        Ok(Reply::Done)
    }

    fn finish(self, _: CallEnd) {}
}

/// With everything an event can say, or with nothing but what it has to.
fn call(ticket: u64, is_full: bool, data: &str) -> Call {
    let mut bytes = String::new();
    let mut put = |text: &str| {
        let start = u32::try_from(bytes.len()).unwrap();
        bytes.push_str(text);
        Span { start, len: u32::try_from(text.len()).unwrap() }
    };
    let mut index = Index { id: put("e-1"), source: put("/größe"), kind: put("paid"), ..Index::default() };
    if is_full {
        (index.subject, index.key, index.content_type) = (Some(put("s")), Some(put("")), Some(put("text/plain")));
        (index.time, index.class) = (Some(Timestamp(7)), Class::Critical);
        index.others = vec![(put("tenant"), put("")), (put("businesskey"), put("order 7")), (put("about"), put("ü"))];
    }
    index.data = put(data);
    let event = Event::new(bytes.into(), index).unwrap();
    let position = Position { slot: Slot(0), offset: Offset(1234) };
    Call(Delivery {
        ticket: Ticket(ticket),
        event: StoredEvent { position, topic: TopicId(1), received: Timestamp(9), event },
        attempt: Attempt(3),
        idempotency_key: "idem".to_owned(),
        deadline: Timestamp(60_000),
        wants_fresh: false,
        may_resend: false,
        is_for_a_person: false,
        batch: None,
        asks: None,
    })
}

/// Takes bytes from the front; panics where there are none.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: u32) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count as usize);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().unwrap())
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes(8).try_into().unwrap())
    }

    fn text(&mut self, length: u32) -> Option<String> {
        (length != u32::MAX).then(|| String::from_utf8(self.bytes(length).to_vec()).unwrap())
    }

    fn delivery(&mut self) -> types::Delivery {
        let size = self.number();
        let mut one = Reader(self.bytes(size));
        let (ticket, time, deadline) = (one.long(), one.long(), one.long());
        let (attempt, count) = (one.number(), one.number());
        let lengths: Vec<u32> = (0..11 + 2 * count).map(|_| one.number()).collect();
        let mut texts = lengths.into_iter().map(|length| one.text(length)).collect::<Vec<_>>().into_iter();
        let mut optional = || texts.next().unwrap();
        let (id, source, kind) = (optional().unwrap(), optional().unwrap(), optional().unwrap());
        let (subject, topic, position) = (optional(), optional().unwrap(), optional().unwrap());
        let (key, content_type, idempotency_key) = (optional(), optional(), optional().unwrap());
        let (business_key, priority) = (optional().unwrap(), optional().unwrap());
        let attributes = (0..count).map(|_| (optional().unwrap(), optional().unwrap())).collect();
        let data = one.0.to_vec();
        let event =
            types::Event { id, source, kind, subject, topic, position, key, time, content_type, attributes, data };
        types::Delivery { ticket, event, attempt, idempotency_key, business_key, deadline, priority }
    }
}

#[test]
fn it_says_what_the_typed_delivery_says() {
    let calls = [call(1, true, "{}"), call(2, false, ""), call(u64::MAX, true, "not json")];
    for attribute in [None, Some("tenant"), Some("nothing")] {
        let mut buffer = b"of the call before".to_vec();
        refill(&mut buffer, &calls, attribute);
        let mut reader = Reader(&buffer);
        for call in &calls {
            let typed = hand_over::delivery(call, attribute);
            assert_eq!(format!("{:?}", reader.delivery()), format!("{typed:?}"));
        }
        assert!(reader.0.is_empty(), "{} bytes too many", reader.0.len());
    }
}

#[test]
fn room_for_large_events_is_kept_while_they_come_and_given_back_then() {
    let (large, small) = ([call(1, false, &"x".repeat(4 * ROOM_KEPT_BYTES))], [call(2, false, "")]);
    let mut buffer = Vec::new();
    refill(&mut buffer, &large, None);
    let room = buffer.capacity();
    refill(&mut buffer, &large, None);
    assert_eq!(buffer.capacity(), room);
    refill(&mut buffer, &small, None);
    refill(&mut buffer, &small, None);
    assert!(buffer.capacity() <= ROOM_KEPT_BYTES, "{}", buffer.capacity());
}
