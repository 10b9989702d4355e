//! Scheduled events that fall due one after another while the host is killed twice and its wall clock stepped by a day and back.
//!
//! `cargo run --workspace --example scheduled_spread -- EVENTS SECONDS`, on the directory of `TMPDIR`. With `SPREAD_FAKETIME` set to the
//! path of `libfaketime.so.1` the host's wall clock is stepped; its other clocks are not. Prints one JSON line per stage.
//!
//! The parent process looks from outside: its clock is the time since boot, and what was delivered is what the plugin has written
//! before it acked. Knows nothing of the store. Invariant: a delivery is in the journal before the host hears that it is done.

mod publishing;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bugle_broker::{ApplySubscription, Bus, Call, Invoke, StartAt};
use bugle_core::delivery::CallEnd;
use bugle_core::ids::{Name, Offset};
use bugle_core::retention::Shelf;
use bugle_core::spec::{Subscription, Topic};
use bugle_core::time::Millis;
use bugle_store::EventBounds;
use rustix::time::{ClockId, clock_gettime};

use bugle_core::ids::{SubscriptionId, TopicId};
use bugle_core::step::CatalogKind;
use publishing::{Producer, event, resident_mib, small};

/// Instead of a number: be the host of this plan.
const SERVE: &str = "serve-spread";
/// The library that steps the wall clock of the host, and of nothing else.
const FAKETIME: &str = "SPREAD_FAKETIME";
/// From the start of the scheduling to the first due time, for each thousand events.
const LEAD_MS_PER_THOUSAND: u64 = 150;
/// Bytes of an entry of the journal: which event, and when in ms since boot.
const ENTRY: usize = 16;
/// How far two readings of clocks may be apart.
const READING_MS: u64 = 20;

fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

/// What all processes know of the plan.
struct Plan {
    dir: PathBuf,
    events: u64,
    seconds: u64,
}

impl Plan {
    fn arguments(&self) -> [String; 3] {
        [self.dir.display().to_string(), self.events.to_string(), self.seconds.to_string()]
    }

    fn of(arguments: &[String]) -> Plan {
        let number = |at: usize| arguments[at].parse().expect("a number");
        Plan { dir: PathBuf::from(&arguments[0]), events: number(1), seconds: number(2) }
    }

    /// When an event is due after the first one.
    fn after(&self, number: u64) -> Millis {
        Millis(number * self.seconds * 1_000 / self.events)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Writes each delivery down, then acks it.
struct Journal {
    file: Mutex<File>,
    delivered: AtomicU64,
    early: AtomicU64,
}

impl Invoke for Journal {
    fn invoke(&self, _subscription: &Name, _plugin: &Name, calls: Vec<Call>) {
        for call in calls {
            let event = &call.delivery().event.event;
            let number: u64 = event.id().trim_start_matches("due").parse().expect("an event of the plan");
            if event.timing().deliver_at.is_some_and(|due| call.now() < due) {
                self.early.fetch_add(1, Ordering::Relaxed);
            }
            let entry = [number.to_be_bytes(), boot_ms().to_be_bytes()].concat();
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&entry).expect("the journal is written");
            self.delivered.fetch_add(1, Ordering::Relaxed);
            call.finish(CallEnd::Returned(Ok(())));
        }
    }
}

fn spec(name: &str) -> Subscription {
    Subscription { concurrency: 256, ..Subscription::new(SubscriptionId(0), name, "plugin", vec![TopicId(1)]) }
}

fn start(dir: &Path, journal: &Arc<Journal>) -> Bus {
    let opened = bugle_store::Store::open(dir, bugle_store::Options::default()).expect("the store opens");
    let number = |row: &[u8]| std::str::from_utf8(row).expect("digits").parse().expect("a number");
    let list = |kind| opened.0.catalog_list(kind, None, 10).expect("the catalog is read");
    let topic = |(name, row): &(String, Vec<u8>)| Topic { id: TopicId(number(row)), name: Name::from(name.as_str()) };
    let topics = list(CatalogKind::Topic).iter().map(topic).collect();
    let subscription = |(name, row): &(String, Vec<u8>)| Subscription { id: SubscriptionId(number(row)), ..spec(name) };
    let subscriptions = list(CatalogKind::Subscription).iter().map(subscription).collect();
    publishing::start(opened, Arc::clone(journal) as Arc<dyn Invoke>, topics, subscriptions, small())
}

fn report(stage: &str, base: f64, more: &str) {
    let now = resident_mib();
    println!("{{\"stage\":\"{stage}\",\"resident_mib\":{now:.1},\"growth_mib\":{:.1}{more}}}", now - base);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == SERVE) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(serve(&arguments[1..]));
    } else {
        let number = |at: usize, or: u64| arguments.get(at).map_or(or, |text| text.parse().expect("a number"));
        run(number(0, 1_000_000), number(1, 600));
    }
}

/// The host, first or again.
async fn serve(arguments: &[String]) {
    let plan = Plan::of(arguments);
    let base = resident_mib();
    let file = OpenOptions::new().create(true).append(true).open(plan.file("journal")).expect("the journal opens");
    let journal = Arc::new(Journal { file: Mutex::new(file), delivered: AtomicU64::new(0), early: AtomicU64::new(0) });
    let began = boot_ms();
    let bus = start(&plan.file("data"), &journal);
    report("host started", base, &format!(",\"start_ms\":{}", boot_ms() - began));
    if bus.topic("orders").is_none() {
        schedule(&bus, &plan, base).await;
    }
    let topic = bus.topic("orders").expect("it was created");
    let mut wall_off_max = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        wall_off_max = wall_off_max.max(wall.abs_diff(bus.now().0));
        let waiting = bus.scheduled_totals(topic).expect("a row").waiting;
        let status = bus.status("mail").await.expect("it exists");
        if waiting == 0 && status.machine.is_some_and(|machine| machine.floor == bus.end()) {
            break;
        }
    }
    let (copies, twice) = copies(&bus).await;
    let early = journal.early.load(Ordering::Relaxed);
    report(
        "host done",
        base,
        &format!(
            ",\"copies\":{copies},\"copies_twice\":{twice},\"early_by_accepted_clock\":{early},\"wall_off_max_ms\":{wall_off_max}"
        ),
    );
    bus.shutdown(Duration::from_secs(10)).await;
}

/// Schedules all events, and tells the parent which time of its clock the first one is due at.
async fn schedule(bus: &Bus, plan: &Plan, base: f64) {
    let row = |topic: &Topic| topic.id.0.to_string().into_bytes();
    bus.create_topic(Name::from("orders"), Shelf::default(), row, Vec::new()).await.expect("a new topic");
    let row = |spec: &Subscription| spec.id.0.to_string().into_bytes();
    let apply = ApplySubscription { spec: spec("mail"), start: StartAt::Latest, row, also: Vec::new() };
    bus.apply_subscription(apply).await.expect("a new subscription");
    let mut producer = Producer::open(bus, 1, "orders").await;
    let first = bus.now().after(Millis(10_000 + plan.events * LEAD_MS_PER_THOUSAND / 1_000));
    std::fs::write(plan.file("first"), (boot_ms() + first.since(bus.now()).0).to_string()).expect("it is written");
    let make =
        |number| event(&format!("due{number}"), &format!("k{}", number % 1_000), Some(first.after(plan.after(number))));
    producer.publish_each(plan.events, make).await;
    producer.all_stored().await;
    assert!(bus.now() < first, "the machine is too slow for this plan");
    report("scheduled", base, "");
}

/// Copies in the log, and how many of them are of an event that has another one.
async fn copies(bus: &Bus) -> (u64, u64) {
    let mut of: HashMap<Offset, u32> = HashMap::new();
    let mut at = bus.floor();
    while at < bus.end() {
        let page = bus.read(at, EventBounds { events_max: 4_096, bytes_max: 4 << 20 }).await.expect("the log is read");
        for original in page.events.iter().filter_map(|stored| stored.event.timing().released_from) {
            *of.entry(original.offset).or_default() += 1;
        }
        at = page.next;
    }
    let twice = of.values().filter(|copies| **copies > 1).count();
    (of.values().map(|copies| u64::from(*copies)).sum(), twice as u64)
}

/// The whole plan, looked at from outside.
fn run(events: u64, seconds: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = Plan { dir: dir.path().to_owned(), events, seconds };
    std::fs::create_dir(plan.file("data")).expect("a new directory");
    step_wall(&plan, "+0d");
    let mut host = serve_in_child(&plan);
    until_line(&mut host, "scheduled");
    let first: u64 = std::fs::read_to_string(plan.file("first")).expect("written").parse().expect("a number");
    let at = |share: u64| first + seconds * 1_000 * share / 100;
    wait_until(at(20));
    step_wall(&plan, "+1d");
    wait_until(at(30));
    step_wall(&plan, "+0d");
    let mut down = Vec::new();
    for share in [40, 70] {
        wait_until(at(share));
        host.kill().expect("SIGKILL");
        host.wait().expect("it is gone");
        down.push(boot_ms());
        host = serve_in_child(&plan);
        until_line(&mut host, "host started");
        step_wall(&plan, "+1d");
        wait_until(at(share + 10));
        step_wall(&plan, "+0d");
    }
    until_line(&mut host, "host done");
    assert!(host.wait().expect("it ends").success());
    judge(&plan, first, &down);
}

fn wait_until(at: u64) {
    std::thread::sleep(Duration::from_millis(at.saturating_sub(boot_ms())));
}

fn step_wall(plan: &Plan, by: &str) {
    std::fs::write(plan.file("wall"), by).expect("it is written");
}

fn serve_in_child(plan: &Plan) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(SERVE).args(plan.arguments()).stdout(Stdio::piped());
    if let Ok(library) = std::env::var(FAKETIME) {
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", plan.file("wall"));
        command.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    command.spawn().expect("the host starts")
}

/// Passes on what the host prints until a stage is reached.
fn until_line(host: &mut Child, stage: &str) {
    let mut lines = BufReader::with_capacity(1, host.stdout.as_mut().expect("piped"));
    let mut line = String::new();
    while !line.contains(&format!("\"{stage}\"")) {
        line.clear();
        assert!(lines.read_line(&mut line).expect("it is read") > 0, "the host ended before it was {stage}");
        print!("{line}");
    }
}

/// Each event once, none before its time; a repeat only of what was on its way at a kill.
fn judge(plan: &Plan, first: u64, down: &[u64]) {
    let mut bytes = Vec::new();
    File::open(plan.file("journal")).and_then(|mut file| file.read_to_end(&mut bytes)).expect("the journal is read");
    let mut times = vec![0u8; plan.events as usize];
    let (mut early, mut late) = (0, Vec::new());
    for entry in bytes.chunks_exact(ENTRY) {
        let number = u64::from_be_bytes(entry[..8].try_into().expect("eight bytes"));
        let at = u64::from_be_bytes(entry[8..].try_into().expect("eight bytes"));
        times[number as usize] += 1;
        let due = first + plan.after(number).0;
        early += u64::from(at + READING_MS < due);
        late.push(at.saturating_sub(due));
    }
    late.sort_unstable();
    let share = |share: usize| late.get(late.len() * share / 1_000).copied().unwrap_or_default();
    let lost = times.iter().filter(|times| **times == 0).count();
    let repeats: u64 = times.iter().map(|times| u64::from(times.saturating_sub(1))).sum();
    let most = times.iter().max().copied().unwrap_or_default();
    println!(
        "{{\"stage\":\"judged\",\"events\":{},\"seconds\":{},\"kills\":{},\"lost\":{lost},\"early\":{early},\"delivered_again_after_a_kill\":{repeats},\"deliveries_of_one_max\":{most},\"late_ms_p50\":{},\"late_ms_p99\":{},\"late_ms_max\":{}}}",
        plan.events,
        plan.seconds,
        down.len(),
        share(500),
        share(990),
        late.last().copied().unwrap_or_default(),
    );
    assert!(lost == 0 && early == 0, "lost {lost}, early {early}");
}
