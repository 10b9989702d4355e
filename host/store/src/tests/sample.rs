//! One sample of every row.

use bugle_core::event::{Class, Event, Index, Span, StoredEvent, Timing};
use bugle_core::ids::{
    Attempt, KeyGeneration, Offset, Position, ProducerEpoch, Revision, Sequence, Slot, StreamId, SubscriptionId,
    TopicId,
};
use bugle_core::lane_hash::{LaneHash, LaneMark};
use bugle_core::row::{
    AttemptNote, Boost, ChannelRow, ClaimName, ClaimRow, ClaimState, Culprit, CursorChunk, CursorRow, DeadRow,
    DeadState, DeadTotals, Expiring, ExpiryEntry, Fate, FateRow, Follow, Forgotten, HoldRow, IdBlockRow, IdEntry,
    KvRow, LateEntry, LetGoRow, LetGoWhy, OpenRow, Parking, PausedRow, RecordRow, RecordStatus, RunRow,
    ScheduledTotals, Second, UncertainClaim, UnknownRow, UnknownState, UnknownTotals, WaitingRow, WindowMark,
};
use bugle_core::step::{CatalogKind, Write};
use bugle_core::time::Timestamp;

pub(super) fn at(offset: u64) -> Position {
    Position { slot: Slot(0), offset: Offset(offset) }
}

/// An event with every optional part, its id made from the offset.
pub(super) fn event(offset: u64) -> StoredEvent {
    let mut bytes = Vec::new();
    let mut span = |part: &str| {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(part.as_bytes());
        Span { start, len: part.len() as u32 }
    };
    let index = Index {
        id: span(&format!("id-{offset}")),
        source: span("/orders"),
        kind: span("order.paid"),
        subject: Some(span("order 7")),
        key: Some(span("user:42")),
        content_type: Some(span("application/json")),
        data: span("{\"sum\":3}"),
        time: Some(Timestamp(1_700_000_000_000)),
        class: Class::Low,
        timing: None,
        others: vec![(span("traceparent"), span("00-1"))],
    };
    let event = Event::new(bytes.into(), index).unwrap();
    StoredEvent { position: at(offset), topic: TopicId(8), received: Timestamp(1_700_000_000_001), event }
}

/// The same, to be delivered later, and itself a copy of another.
pub(super) fn scheduled(offset: u64) -> StoredEvent {
    let plain = event(offset);
    let deliver_at = Some(Timestamp(1_700_000_000_500));
    let timing = Timing { deliver_at, released_from: Some(at(1)), ..Timing::default() };
    StoredEvent { event: plain.event.timed(timing), ..plain }
}

pub(super) fn fate() -> FateRow {
    FateRow { fate: Fate::Released { to: at(9) }, at: Timestamp(11) }
}

pub(super) fn scheduled_totals() -> ScheduledTotals {
    ScheduledTotals { waiting: 1, released: 300, cancelled: 2, replaced: 3, expired: 0 }
}

fn notes() -> Vec<AttemptNote> {
    vec![AttemptNote { attempt: Attempt(1), at: Timestamp(5), reason: "503".to_owned() }]
}

pub(super) fn cursor() -> CursorRow {
    CursorRow { floor: Offset(10) }
}

pub(super) fn chunk() -> CursorChunk {
    let mut words = Box::new([0; 64]);
    words[1] = u64::MAX;
    words[2] = 0b1011;
    CursorChunk(words)
}

pub(super) fn waiting() -> WaitingRow {
    WaitingRow {
        channel: 3,
        plugin: 1,
        broke: 1,
        class: Class::Low,
        lane: LaneMark::Keyed(LaneHash(0x0102_0304_0506_0708)),
        parking: Parking::Released { generation: KeyGeneration(1) },
        ..old_waiting()
    }
}

/// As an older host wrote it.
pub(super) fn old_waiting() -> WaitingRow {
    WaitingRow { spent: 2, due: Timestamp(99), notes: notes(), ..WaitingRow::default() }
}

pub(super) fn hold() -> HoldRow {
    HoldRow { until: Timestamp(1234) }
}

pub(super) fn paused() -> PausedRow {
    PausedRow { by: "plugin".to_owned(), reason: "gone".to_owned(), at: Timestamp(4) }
}

pub(super) fn run() -> RunRow {
    RunRow { drain_to: Some(Offset(40)), boost: Some(Boost { factor: 4, until: Offset(50) }) }
}

pub(super) fn let_go() -> LetGoRow {
    LetGoRow {
        serial: 258,
        from: Offset(1),
        to: Offset(9),
        events: 7,
        total: 12,
        why: LetGoWhy::Sought,
        at: Timestamp(3),
    }
}

pub(super) fn channel() -> ChannelRow {
    let open = OpenRow {
        culprit: Culprit::Plugin,
        until: Timestamp(70),
        since: Timestamp(60),
        reason: "it trapped".to_owned(),
    };
    ChannelRow { open: Some(open), times: 2, since: Timestamp(60), counting: 5, forgives_first: true }
}

pub(super) fn dead() -> DeadRow {
    DeadRow {
        state: DeadState::Replayed,
        holds_key: true,
        decided: Some(Timestamp(8)),
        generation: KeyGeneration(2),
        revision: Some(Revision([7; 32])),
        channel: 2,
        plugin: 1,
        ..old_dead()
    }
}

pub(super) fn dead_totals() -> DeadTotals {
    DeadTotals { letters: 1, bytes: 2, open: 3, manual: 4, removed: 5 }
}

/// As an older host wrote it.
pub(super) fn old_dead() -> DeadRow {
    DeadRow {
        event: event(6),
        state: DeadState::Open,
        holds_key: false,
        decided: None,
        generation: KeyGeneration(0),
        revision: None,
        cause: "rejected".to_owned(),
        reason: "no such user".to_owned(),
        attempts: 3,
        channel: 0,
        plugin: 0,
        notes: notes(),
        at: Timestamp(7),
    }
}

pub(super) fn unknown() -> UnknownRow {
    UnknownRow {
        state: UnknownState::Retried,
        decided: Some(Timestamp(9)),
        remark: "asked".to_owned(),
        generation: KeyGeneration(2),
        revision: Some(Revision([7; 32])),
        claims: vec![UncertainClaim { scope: "scope".into(), key: "order:7".to_owned(), expires: Timestamp(55) }],
        notes: notes(),
        ..old_unknown()
    }
}

pub(super) fn unknown_totals() -> UnknownTotals {
    UnknownTotals { rows: 1, bytes: 2, open: 3, removed: 4 }
}

/// As an older host wrote it.
pub(super) fn old_unknown() -> UnknownRow {
    UnknownRow {
        event: event(7),
        state: UnknownState::Open,
        decided: None,
        remark: String::new(),
        generation: KeyGeneration(0),
        revision: None,
        claims: Vec::new(),
        reference: "smtp-1".to_owned(),
        attempts: 1,
        notes: Vec::new(),
        at: Timestamp(8),
    }
}

pub(super) fn claim() -> ClaimRow {
    ClaimRow { state: ClaimState::Done { receipt: Some(b"ok".to_vec()) }, expires: Timestamp(55) }
}

pub(super) fn window_mark() -> WindowMark {
    WindowMark { expires: Timestamp(77), number: 4, key: "order:9".to_owned(), receipt: Some(b"ok".to_vec()) }
}

pub(super) fn kv() -> KvRow {
    KvRow { value: b"value".to_vec(), expires: Some(Timestamp(66)), version: 12 }
}

pub(super) fn record() -> RecordRow {
    RecordRow {
        business_key: "order:7".to_owned(),
        recipient: "user:42".to_owned(),
        status: RecordStatus::Sent,
        provider: "smtp.example".to_owned(),
        provider_reference: "m-1".to_owned(),
        detail: "250".to_owned(),
        attempt: Attempt(2),
        at: Timestamp(9),
        event_id: "id-6".to_owned(),
        follow: Follow::By { at: Timestamp(99), claim: Some(ClaimName { scope: "sms".into(), key: "k".to_owned() }) },
    }
}

/// As hosts wrote it that watched nothing.
pub(super) fn old_record() -> RecordRow {
    RecordRow { follow: Follow::Unwatched, ..record() }
}

/// In a state in which something has to follow.
pub(super) fn open_record() -> RecordRow {
    let (none, order) = (String::new(), "order:8".to_owned());
    RecordRow {
        business_key: order,
        recipient: none.clone(),
        status: RecordStatus::Attempted,
        provider: none.clone(),
        provider_reference: none,
        follow: Follow::ForAPerson,
        ..record()
    }
}

pub(super) fn id_block() -> IdBlockRow {
    IdBlockRow { first: Offset(1), end: Offset(4), ids: 3, chunks: 1, oldest: Timestamp(10), newest: Timestamp(20) }
}

pub(super) fn ids() -> Vec<IdEntry> {
    [(100, 1), (200, 2), (200, 3)].map(|(hash, offset)| IdEntry { hash, offset: Offset(offset) }).to_vec()
}

/// One write of every kind that can be committed.
pub(super) fn every_write() -> Vec<Write> {
    let subscription = SubscriptionId(3);
    let class = Class::Normal;
    vec![
        Write::Event(event(0)),
        Write::ProducerSequence {
            producer: "producer".into(),
            epoch: ProducerEpoch(9),
            stream: StreamId(2),
            sequence: Sequence(77),
        },
        Write::Cursor { subscription, class, row: cursor() },
        Write::Chunk { subscription, class, chunk: 5, row: Some(chunk()) },
        Write::Waiting { subscription, offset: Offset(11), row: Some(waiting()) },
        Write::Hold { subscription, key: "key".to_owned(), class, row: Some(hold()) },
        Write::Dead { subscription, position: at(6), row: dead() },
        Write::DeadTotals { subscription, row: dead_totals() },
        Write::Unknown { subscription, position: at(7), row: unknown() },
        Write::UnknownTotals { subscription, row: unknown_totals() },
        Write::Claim { scope: "scope".into(), key: "order:7".to_owned(), row: Some(claim()) },
        Write::Kv { store: "store".into(), key: "a/1".to_owned(), row: Some(kv()) },
        Write::Window { scope: "scope".into(), mark: window_mark() },
        Write::Record { subscription, position: at(6), row: record() },
        Write::Record { subscription, position: at(7), row: open_record() },
        Write::Catalog { kind: CatalogKind::Topic, key: "orders".to_owned(), value: Some(b"definition".to_vec()) },
        Write::IdChunk { block: 4, chunk: 0, first: Offset(1), ids: ids() },
        Write::IdBlock { block: 4, row: Some(id_block()) },
        Write::Paused { subscription, row: Some(paused()) },
        Write::Run { subscription, row: Some(run()) },
        Write::LetGo { subscription, row: let_go() },
        Write::Channel { subscription, row: Some(channel()) },
        Write::Scheduled(scheduled(2)),
        Write::Scheduled(scheduled(3)),
        Write::ScheduleEnded { event: scheduled(3), row: fate() },
        Write::ScheduledTotals { topic: TopicId(8), row: scheduled_totals() },
    ]
}

/// The deletes of all writes that have one.
pub(super) fn every_delete() -> Vec<Write> {
    let subscription = SubscriptionId(3);
    let class = Class::Normal;
    vec![
        Write::Chunk { subscription, class, chunk: 5, row: None },
        Write::Waiting { subscription, offset: Offset(11), row: None },
        Write::Hold { subscription, key: "key".to_owned(), class, row: None },
        Write::DeadGone { subscription, position: at(6) },
        Write::UnknownGone { subscription, position: at(7) },
        Write::RecordGone { subscription, position: at(6), row: record(), forgotten: Forgotten::Record },
        Write::RecordGone { subscription, position: at(7), row: open_record(), forgotten: Forgotten::Record },
        Write::LateGone(LateEntry::of(subscription, at(8), &record()).expect("it is watched")),
        Write::Claim { scope: "scope".into(), key: "order:7".to_owned(), row: None },
        Write::Kv { store: "store".into(), key: "a/1".to_owned(), row: None },
        Write::WindowEnded { scope: "scope".into(), expires: Timestamp(77), number: 4 },
        Write::ExpiryGone(ExpiryEntry {
            of: Expiring::Claim,
            second: Second(1),
            scope: "scope".into(),
            key: "order:7".to_owned(),
        }),
        Write::ExpiriesBelow { of: Expiring::Kv, below: Second(2) },
        Write::Catalog { kind: CatalogKind::Topic, key: "orders".to_owned(), value: None },
        Write::IdBlock { block: 4, row: None },
        Write::Paused { subscription, row: None },
        Write::Run { subscription, row: None },
        Write::Channel { subscription, row: None },
        Write::ScheduleEnded { event: scheduled(2), row: fate() },
        Write::FatesBelow { floor: Offset(4) },
    ]
}
