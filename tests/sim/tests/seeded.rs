//! Each deliberate bug of `bugle_core::seeded` is found by the same histories and rules that the product passes.
//!
//! A bug is planted for the whole process, so the tests of this binary take turns. The table bug, test, rule and number of seeds is in
//! `docs/guarantees.md`; `cargo test --package bugle-sim --test seeded -- --nocapture` prints it. With `BUGLE_SIM_KEEP` set the
//! histories are made short and kept in `regressions`.

use std::sync::{Mutex, Once, PoisonError};

use bugle_core::seeded::{Bug, plant};
use bugle_core::time::Millis;
use bugle_sim::{ACTIONS, History, Outage, outage, replay, shrink};

/// A bug must be found within this many histories.
const SEEDS: u64 = 300;

static TURN: Mutex<()> = Mutex::new(());

/// Bugs make the core panic where it asserts; that is a find, not news.
fn silence_panics_of_the_bus() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_a_tests = panic.location().is_none_or(|at| at.file().ends_with("seeded.rs"));
            if is_a_tests {
                usual(panic);
            }
        }));
    });
}

fn check(bug: Bug, test: &str, rules: &[&str]) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    silence_panics_of_the_bus();
    plant(Some(bug));
    let found = (1..=SEEDS).find_map(|seed| {
        let history = History::draw(seed, true, ACTIONS);
        replay(&history).err().map(|failure| (seed, history, failure))
    });
    let short = found.as_ref().filter(|_| std::env::var_os("BUGLE_SIM_KEEP").is_some());
    let short = short.map(|(_, history, _)| shrink(history));
    plant(None);
    let (seed, _, failure) = found.unwrap_or_else(|| panic!("`{}` was not found in {SEEDS} histories", bug.word()));
    println!("| `{}` | `{test}` | {seed} | {} |", bug.word(), failure.broken.rule);
    if let Some(short) = short {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
        let text = format!("# with the bug {}: {}\n{short}", bug.word(), failure.broken.rule);
        std::fs::write(folder.join(format!("{}.txt", bug.word())), text).expect("the folder can be written");
    }
    let is_expected = rules.iter().any(|rule| failure.broken.rule.starts_with(rule));
    assert!(is_expected, "`{}` broke another rule than one of {rules:?}: {failure}", bug.word());
}

macro_rules! bugs {
    ($($test:ident: $bug:ident breaks $($rule:literal),+;)*) => {
        $(
            #[test]
            fn $test() {
                check(Bug::$bug, stringify!($test), &[$($rule),+]);
            }
        )*

        #[test]
        fn every_bug_has_its_test() {
            let tested = [$(Bug::$bug),*, Bug::OutageSpendsAttempts];
            for bug in Bug::ALL {
                assert!(tested.contains(bug), "no test plants `{}`", bug.word());
            }
        }
    };
}

/// No rule forbids that a dead letter is written; the day without a provider does.
#[test]
fn outage_spends_attempts_is_found() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    plant(Some(Bug::OutageSpendsAttempts));
    let report = outage(Outage {
        seed: 1,
        every: Millis(1_000),
        before: Millis::from_secs(600),
        gone: Millis::from_secs(3 * 3_600),
        keys: 50,
        critical_one_in: 10,
        rate: 10,
        kills: 0,
    });
    plant(None);
    let dead = report.map_or(0, |report| report.dead.len());
    println!(
        "| `outage-spends-attempts` | `outage_spends_attempts_is_found` | 1 | R15: {dead} dead letters in an outage |"
    );
    assert!(dead > 10, "an outage in which every fault is the event's killed {dead} events");
}

bugs! {
    cumulative_ack_is_found: CumulativeAck breaks "G1", "G5", "G6";
    retry_to_the_tail_is_found: RetryToTheTail breaks "G5", "the host";
    dead_letter_after_ack_is_found: DeadLetterAfterAck breaks "G1";
    stale_lease_accepted_is_found: StaleLeaseAccepted breaks "G1", "G5", "G6";
    dedup_row_in_second_batch_is_found: DedupRowInSecondBatch breaks "G4";
    confirm_before_sync_is_found: ConfirmBeforeSync breaks "G1", "G11";
    sync_retried_is_found: SyncRetried breaks "G1", "G8", "G11";
    claim_without_its_effects_is_found: ClaimWithoutItsEffects breaks "G4";
    ack_on_call_is_found: AckOnCall breaks "G6";
    due_row_deleted_first_is_found: DueRowDeletedFirst breaks "G1", "G8";
    scheduled_row_deleted_first_is_found: ScheduledRowDeletedFirst breaks "G1", "G8";
    timer_only_in_memory_is_found: TimerOnlyInMemory breaks "G1", "G8";
    wall_clock_ttl_is_found: WallClockTtl breaks "G8";
    skipped_bad_record_is_found: SkippedBadRecord breaks "G1";
    maybe_sent_claim_freed_is_found: MaybeSentClaimFreed breaks "G4";
    sequence_per_producer_is_found: SequencePerProducer breaks "G3";
    hold_only_in_memory_is_found: HoldOnlyInMemory breaks "G1", "G5";
    cursor_holes_not_written_is_found: CursorHolesNotWritten breaks "G1", "G6";
    refusal_spends_attempt_is_found: RefusalSpendsAttempt breaks "G8";
    content_not_compared_is_found: ContentNotCompared breaks "G3";
    ids_forgotten_at_restart_is_found: IdsForgottenAtRestart breaks "G3";
    reads_not_validated_is_found: ReadsNotValidated breaks "G4";
    unbounded_reading_is_found: UnboundedReading breaks "G10";
    next_before_durable_is_found: NextBeforeDurable breaks "G5";
    breaker_only_in_memory_is_found: BreakerOnlyInMemory breaks "G1";
    handed_on_after_settled_is_found: HandedOnAfterSettled breaks "G1";
    record_after_settled_is_found: RecordAfterSettled breaks "G4";
    retention_ignores_waiting_is_found: RetentionIgnoresWaiting breaks "G1";
    erased_is_delivered_is_found: ErasedIsDelivered breaks "G8";
    erased_blocks_its_key_is_found: ErasedBlocksItsKey breaks "G1", "liveness", "the host";
    renewed_row_expired_is_found: RenewedRowExpired breaks "G4", "G8";
    window_forgotten_at_restart_is_found: WindowForgottenAtRestart breaks "G4";
    outcome_after_settled_is_found: OutcomeAfterSettled breaks "G4";
    late_claim_stays_done_is_found: LateClaimStaysDone breaks "G4";
    late_handed_on_again_is_found: LateHandedOnAgain breaks "G4";
    not_asked_before_resend_is_found: NotAskedBeforeResend breaks "G4";
    timer_set_beside_another_is_found: TimerSetBesideAnother breaks "G8";
    timer_after_ack_is_found: TimerAfterAck breaks "G4", "G1";
    callback_goes_back_is_found: CallbackGoesBack breaks "G4";
    note_over_callback_is_found: NoteOverCallback breaks "G4";
    expired_is_retried_is_found: ExpiredIsRetried breaks "G8";
    batch_pays_for_one_is_found: BatchPaysForOne breaks "G6", "G8";
    effects_of_failure_kept_is_found: EffectsOfFailureKept breaks "G1", "G4", "G6";
}
