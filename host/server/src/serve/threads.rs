//! The threads of the host: few, since threads that fight for the cores cost the disk its pace.
//!
//! One runtime for the door (QUIC), one for workers, admin and timers, one for guests with a thread per core. The committer and
//! the sandbox's clock have threads of their own. Knows nothing of what runs on them.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use crate::config::Config;

/// Threads for blocking reads of the store and for compiling; they end when idle.
const BLOCKING_THREADS_MAX: usize = 8;

/// How long what is left on a runtime may take to end after the orderly stop.
const REST: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Threads {
    host: Runtime,
    guests: Runtime,
    guest_threads: usize,
    door: Handle,
    /// Dropped to end the door's thread.
    door_open: oneshot::Sender<()>,
    door_thread: JoinHandle<()>,
}

impl Threads {
    pub(super) fn start(config: &Config) -> anyhow::Result<Threads> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let guest_threads = match config.sandbox.guest_threads {
            0 => cores,
            count => usize::try_from(count)?,
        };
        let host = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("host")
            .enable_all()
            .build()
            .context("could not start the host's threads")?;
        let guests = Builder::new_multi_thread()
            .worker_threads(guest_threads)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("guest")
            .enable_all()
            .build()
            .context("could not start the guests' threads")?;
        let door = Builder::new_current_thread().enable_all().build().context("could not start the door's thread")?;
        let handle = door.handle().clone();
        let (door_open, closed) = oneshot::channel::<()>();
        let run = move || {
            // An error says that the sender was dropped, which is how it is told to end.
            let _ = door.block_on(closed);
        };
        let door_thread = std::thread::Builder::new().name("door".to_owned()).spawn(run)?;
        Ok(Threads { host, guests, guest_threads, door: handle, door_open, door_thread })
    }

    /// Workers, admin API, timers.
    pub(super) fn host(&self) -> &Handle {
        self.host.handle()
    }

    /// Guests and nothing else.
    pub(super) fn guests(&self) -> &Handle {
        self.guests.handle()
    }

    pub(super) fn guest_threads(&self) -> usize {
        self.guest_threads
    }

    /// The QUIC listener: one thread, which measures best.
    pub(super) fn door(&self) -> &Handle {
        &self.door
    }

    /// Ends all threads after everything on them was stopped.
    pub(super) fn end(self) {
        drop(self.door_open);
        if self.door_thread.join().is_err() {
            tracing::error!("the door's thread ended by a panic");
        }
        self.guests.shutdown_timeout(REST);
        self.host.shutdown_timeout(REST);
    }

    /// Leaves everything as it is: the process ends at once.
    pub(super) fn abandon(self) {
        self.guests.shutdown_background();
        self.host.shutdown_background();
    }
}
