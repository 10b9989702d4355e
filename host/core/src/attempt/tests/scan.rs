//! Scans page by page, and the reads that a transaction is validated by.

use alloc::format;

use super::super::{VALUE_BYTES_MAX, limits};
use super::*;

fn scan(call: &mut Driver, after: Option<&str>, limit: u32) -> Vec<String> {
    let after = after.map(str::to_string);
    match call.import(Import::KvScan { prefix: "u/".to_string(), after, limit }) {
        Ok(Reply::Entries(entries)) => entries.into_iter().map(|(key, _)| key).collect(),
        other => panic!("a scan gives entries, not {other:?}"),
    }
}

#[test]
fn page_of_ended_and_deleted_entries_is_passed_over() {
    let mut call = call();
    let row = |expires| KvRow { value: b"s".to_vec(), expires, version: 1 };
    for n in 0..10 {
        call.kv.insert(format!("u/{n}"), row((n < 4).then_some(NOW)));
    }
    for n in 4..8 {
        call.import(Import::KvDelete { key: format!("u/{n}") }).unwrap();
    }
    call.put("u/85", "mine");
    assert_eq!(scan(&mut call, None, 2), ["u/8", "u/85"], "eight entries that are not there are not the end");
    assert_eq!(scan(&mut call, Some("u/85"), 2), ["u/9"]);
    assert_eq!(scan(&mut call, Some("u/9"), 2), [""; 0]);
}

#[test]
fn a_page_has_a_bound_in_bytes_and_is_never_empty_for_it() {
    let mut call = call();
    let value = vec![7; VALUE_BYTES_MAX];
    for n in 0..6 {
        call.kv.insert(format!("u/{n}"), KvRow { value: value.clone(), expires: None, version: 1 });
    }
    assert_eq!(scan(&mut call, None, 256), ["u/0", "u/1", "u/2"]);
    assert_eq!(scan(&mut call, Some("u/2"), 256), ["u/3", "u/4", "u/5"]);
}

#[test]
fn entry_seen_in_two_versions_meets_a_conflict() {
    let mut call = call();
    call.kv.insert("u/1".to_string(), KvRow { value: b"a".to_vec(), expires: None, version: 1 });
    call.get("u/1");
    call.kv.insert("u/1".to_string(), KvRow { value: b"b".to_vec(), expires: None, version: 2 });
    scan(&mut call, None, 10);
    let reads = call.finish(CallEnd::Returned(Ok(()))).transaction.reads;
    assert_eq!(reads.iter().map(|read| read.version).collect::<Vec<_>>(), [1, 2], "both are validated, one is stale");
}

#[test]
fn read_that_could_not_be_validated_is_refused() {
    let mut call = call();
    for n in 0..limits::KV_READS_MAX {
        call.get(&n.to_string());
    }
    assert_eq!(call.get("0"), None, "read before");
    assert_eq!(call.code(Import::KvGet { key: "one more".to_string() }), Code::Quota);
    call.kv.insert("u/1".to_string(), KvRow { value: b"a".to_vec(), expires: None, version: 1 });
    assert_eq!(call.code(Import::KvScan { prefix: "u/".to_string(), after: None, limit: 1 }), Code::Quota);
}
