//! Histories that once broke a rule, or break one with a bug of `seeded.rs` planted: made short, kept, and replayed for ever.

use std::path::Path;

use bugle_sim::{History, replay_noting};

#[test]
fn kept_histories_break_no_rule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is part of the repository") {
        let file = entry.expect("the folder can be listed").path();
        let text = std::fs::read_to_string(&file).expect("a regression is a text");
        let history: History = text.parse().unwrap_or_else(|wrong| panic!("{}: {wrong}", file.display()));
        if let Err(failure) = replay_noting(&history, true) {
            panic!("{}: {failure}", file.display());
        }
        count += 1;
    }
    assert!(count > 10, "only {count} histories in {}", folder.display());
}
