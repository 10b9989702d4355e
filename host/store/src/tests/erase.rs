//! Erased content leaves the files: the log of each retention, the rows, the write-ahead log and the list of the files.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use bugle_core::event::{ERASED_KIND, Event, Index, Span, StoredEvent, Timing};
use bugle_core::ids::{Offset, SubscriptionId, TopicId};
use bugle_core::retention::KeepClass;
use bugle_core::row::RecordRow;
use bugle_core::step::Write;
use bugle_core::time::Timestamp;

use super::sample::{at, event, record};
use super::{ALL, commit, open};

/// Key of the sample events and recipient of the sample records.
const CANARY: &str = "user:42";
const SHORT: TopicId = TopicId(71);

fn files_with_it(folder: &Path, found: &mut Vec<String>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files_with_it(&path, found);
        } else if std::fs::read(&path).unwrap().windows(CANARY.len()).any(|part| part == CANARY.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    files_with_it(folder, &mut found);
    found
}

fn left_of(stored: &StoredEvent) -> StoredEvent {
    let text = format!("{}/orders{ERASED_KIND}", stored.event.id());
    let (id, source) = (stored.event.id().len() as u32, "/orders".len() as u32);
    let index = Index {
        id: Span { start: 0, len: id },
        source: Span { start: id, len: source },
        kind: Span { start: id + source, len: ERASED_KIND.len() as u32 },
        ..Index::default()
    };
    let event = Event::new(text.into_bytes().into(), index).unwrap();
    let timing = Timing { expires: Some(Timestamp(5)), ..Timing::default() };
    StoredEvent { event: event.timed(timing), ..stored.clone() }
}

#[test]
fn nothing_of_it_is_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let short = KeepClass::new(1).unwrap();
    store.make_epoch(short).unwrap();
    store.set_classes(HashMap::from([(SHORT, short)]));
    let topic = |stored: StoredEvent| match stored.position.offset.0 % 2 {
        0 => stored,
        _ => StoredEvent { topic: SHORT, ..stored },
    };
    let events: Vec<StoredEvent> = (0..20).map(|offset| topic(event(offset))).collect();
    commit(&store, &events.iter().cloned().map(Write::Event).collect::<Vec<_>>());
    let states = |at: u64| {
        move |offset: u64| {
            let row = RecordRow { at: Timestamp(at), event_id: format!("id-{offset}"), ..record() };
            Write::Record { subscription: SubscriptionId(3), position: super::at(offset), row }
        }
    };
    for time in [1, 2] {
        commit(&store, &(0..20).map(states(time)).collect::<Vec<_>>());
    }
    assert!(!files(dir.path()).is_empty());

    let page = store.records_to_erase(None, 10, |entry| entry.position == at(7)).unwrap();
    assert_eq!((page.records, page.next.is_some()), (0, true), "there is more than is looked at");
    let page = store.records_to_erase(None, 1_000, |entry| entry.row.recipient == CANARY).unwrap();
    assert_eq!((page.records, page.writes.len(), page.next), (20, 40, None), "every state, each record counted once");
    commit(&store, &page.writes);
    let left: Vec<StoredEvent> = events.iter().map(left_of).collect();
    commit(&store, &left.iter().cloned().map(Write::Erased).collect::<Vec<_>>());
    let offsets: BTreeSet<Offset> = left.iter().map(|stored| stored.position.offset).collect();
    store.rewrite(&offsets).unwrap();
    assert_eq!(store.events(Offset(0), ALL).unwrap().events, left, "each in its place");
    for stored in &left {
        assert_eq!(store.event(stored.position).unwrap().as_ref(), Some(stored));
    }
    // What finds a record by its recipient was the first or last of a table.
    assert!(store.is_listed(CANARY).unwrap() && !store.is_listed("user:43").unwrap());
    let left_in = files(dir.path());
    assert!(left_in.iter().all(|file| file.contains("/MANIFEST-")), "{left_in:?}");
    store.close().unwrap();
    let (store, _) = open(dir.path());
    assert_eq!(store.events(Offset(0), ALL).unwrap().events, left);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}
