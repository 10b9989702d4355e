//! A host that has the real admission and a log in memory: every batch is decided as in the product and is durable at once.

use std::sync::{Arc, Mutex};

use bugle_core::admission::{Admission, Facts, IdFact, IdPlace, Recovery, WindowSize};
use bugle_core::code::Code;
use bugle_core::event::StoredEvent;
use bugle_core::ids::{BootId, Name, Offset, SessionId, Slot, TopicId};
use bugle_core::publish::{Abandon, IdState, OpenSession, Opened, PublishBatch, Refusal};
use bugle_core::spec::Topic;
use bugle_core::step::Write;
use bugle_core::time::{Millis, Timestamp};
use bugle_ingress::{Listener, Publish, Results, Stopped};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::scripted::config;

#[derive(Clone)]
struct Behind(Arc<Mutex<Inside>>);

struct Inside {
    admission: Admission,
    log: Vec<StoredEvent>,
    is_disk_full: bool,
}

impl Inside {
    fn decide(&mut self, batch: PublishBatch, sink: &Results) {
        let refusal = Refusal { code: Code::DiskFull, retry_after: Some(Millis(5_000)), detail: String::new() };
        let refused = if self.is_disk_full { self.admission.refuse(&batch, refusal) } else { None };
        let result = refused.unwrap_or_else(|| {
            let probe = self.admission.probe(&batch);
            let found = probe.lookups().iter().filter_map(|lookup| {
                let IdPlace::Log(offset) = lookup.place else { return None };
                let event = self.log.get(usize::try_from(offset.0).unwrap())?.clone();
                Some(IdFact { index: lookup.index, event })
            });
            let facts: Vec<IdFact> = found.collect();
            let mut writes = Vec::new();
            let result = self.admission.publish(Timestamp(1_000), batch, &probe, &facts, &mut writes);
            self.admission.seal(Timestamp(1_000), &mut writes);
            self.admission.committed();
            self.log.extend(writes.into_iter().filter_map(|write| match write {
                Write::Event(event) => Some(event),
                _ => None,
            }));
            result
        });
        sink.deliver(vec![result]);
    }
}

impl Publish for Behind {
    type Sink = Arc<Results>;

    fn sink(&self, results: Arc<Results>) -> Arc<Results> {
        results
    }

    async fn open(&self, open: OpenSession) -> Result<Opened, Stopped> {
        Ok(self.0.lock().unwrap().admission.open(open, Vec::new()))
    }

    async fn publish(&self, batch: PublishBatch, sink: &Arc<Results>) -> Result<(), Stopped> {
        self.0.lock().unwrap().decide(batch, sink);
        Ok(())
    }

    async fn query(&self, _: Name, _: String, _: String) -> Result<Option<IdState>, Stopped> {
        Ok(None)
    }

    fn abandon(&self, abandon: Abandon) {
        self.0.lock().unwrap().admission.abandon(&abandon);
    }

    fn close(&self, session: SessionId) {
        self.0.lock().unwrap().admission.close(session);
    }
}

/// The listener with that host behind it; it stops when this is dropped.
pub(crate) struct AdmittingHost {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) fingerprint: String,
    pub(crate) dir: TempDir,
    behind: Behind,
    _stop: oneshot::Sender<()>,
}

impl AdmittingHost {
    /// With the topic `orders`.
    pub(crate) fn start() -> Self {
        let mut admission = Recovery::new(Facts {
            slot: Slot(0),
            seed: [7; 16],
            boot: BootId(1),
            first_boot: BootId(0),
            boots: vec![(BootId(1), Offset(0))],
            next: Offset(0),
            floor: Offset(0),
            dropped_below: Offset(0),
            topics: Vec::new(),
            window: WindowSize { ids: 10_000, ..WindowSize::default() },
        })
        .finish();
        admission.add_topic(Topic { id: TopicId(1), name: "orders".into() });
        let behind = Behind(Arc::new(Mutex::new(Inside { admission, log: Vec::new(), is_disk_full: false })));
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(config(dir.path())).unwrap();
        let (address, fingerprint) = (listener.local_address().unwrap(), listener.fingerprint().to_string());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = listener.run(behind.clone(), async {
            // A dropped sender stops the host too.
            let _ = stopped.await;
        });
        drop(tokio::spawn(run));
        Self { address, fingerprint, dir, behind, _stop: stop }
    }

    pub(crate) fn create_topic(&self, name: &str) {
        let topic = Topic { id: TopicId(2), name: name.into() };
        self.behind.0.lock().unwrap().admission.add_topic(topic);
    }

    pub(crate) fn fill_disk(&self, is_full: bool) {
        self.behind.0.lock().unwrap().is_disk_full = is_full;
    }

    /// Ids of the stored events of a key, in order.
    pub(crate) fn ids_of(&self, key: &str) -> Vec<String> {
        let inside = self.behind.0.lock().unwrap();
        let of_key = inside.log.iter().filter(|stored| stored.event.key() == Some(key));
        of_key.map(|stored| stored.event.id().to_owned()).collect()
    }
}
