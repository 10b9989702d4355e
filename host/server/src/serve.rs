//! `bugle serve`: from a checked config to a running host, and back down.
//!
//! Order of the start: take the data directory, open the store, load plugins, start the bus, open the doors, say so. The stop is
//! the reverse. Knows no part's inside.
//!
//! Invariant: nothing is announced before it can be used, and a failed store ends the process with an error.

mod open;
mod open_files;
mod stop;
mod threads;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bugle_core::audit::AuditBounds;
use bugle_store::OnLoss;

use crate::admin;
use crate::cli::CompileArgs;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::logs;

pub use open::Running;
use stop::End;
use threads::Threads;

/// What the command line adds to the config.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// What to do if the store lost confirmed events.
    pub on_loss: OnLoss,
}

/// Runs a host until it is told to stop. `file` is the config file, for people.
pub fn serve(config: &Config, file: Option<&Path>, orders: Orders) -> anyhow::Result<()> {
    logs::start(&config.log)?;
    open_files::prepare();
    let data = DataDir::at(&config.data_dir);
    let _lock = data.lock()?;
    data.withdraw();
    let threads = Threads::start(config)?;
    let running = open::open(config, &data, &threads, orders)?;
    greet(config, file, &running);
    data.announce(running.endpoints())?;
    tracing::info!(admin = %running.endpoints().admin, quic = %running.endpoints().quic, "serving");
    let end = running.wait(&threads);
    data.withdraw();
    match end {
        End::Asked(signal) => {
            tracing::info!(signal, "stopping");
            running.stop(threads);
            Ok(())
        }
        End::Failed(reason) => {
            tracing::error!(error = %reason, "the store failed; nothing that was on the way is confirmed");
            threads.abandon();
            bail!("the store failed: {reason}; check the disk, then start the host again")
        }
    }
}

/// A host inside a test's process: no lock file, no announcement, no signals.
#[cfg(test)]
pub(crate) struct InProcess {
    running: Running,
    threads: Threads,
}

#[cfg(test)]
impl InProcess {
    pub(crate) fn start(config: &Config) -> anyhow::Result<InProcess> {
        let data = DataDir::at(&config.data_dir);
        drop(data.lock()?);
        let threads = Threads::start(config)?;
        let on_loss = OnLoss::Refuse;
        let running = open::open(config, &data, &threads, Orders { on_loss })?;
        Ok(InProcess { running, threads })
    }

    pub(crate) fn data(&self) -> &DataDir {
        self.running.data()
    }

    pub(crate) fn endpoints(&self) -> &crate::data_dir::Endpoints {
        self.running.endpoints()
    }

    pub(crate) fn stop(self) {
        self.running.stop(self.threads);
    }
}

/// Tells a person what runs and where, once everything is open.
fn greet(config: &Config, file: Option<&Path>, running: &Running) {
    let endpoints = running.endpoints();
    let file = file.map_or_else(|| "none, the defaults apply".to_owned(), |file| file.display().to_string());
    let (ids, time) = (config.publish.id_window_ids, config.publish.id_window);
    let mail = config.mail.host.as_deref().unwrap_or("no relay");
    println!("bugle {} serves", env!("CARGO_PKG_VERSION"));
    println!("  producers    quic {}", endpoints.quic);
    println!("  certificate  {}", endpoints.fingerprint);
    println!("  operators    http {} (token in {})", endpoints.admin, running.data().token().display());
    if let Some(inbound) = &endpoints.inbound {
        println!("  callbacks    http {inbound} (/inbound/SUBSCRIPTION, for a proxy)");
    }
    println!("  data         {} (boot {})", running.data().path().display(), running.boot());
    println!("  config       {file}");
    println!(
        "  policy       confirm after fsync; ids remembered: {ids} or {time}; guests: {} each; mail: {mail}",
        config.sandbox.memory
    );
}

/// The compiler child: turns a component into machine code, apart from the serving process.
pub fn compile_component(args: &CompileArgs) -> anyhow::Result<()> {
    bugle_sandbox::compile_child_main(&args.input, &args.output).context("could not compile the component")
}

/// How often rows of what operators did are trimmed: they are many only if a script makes them.
const AUDIT_EVERY: Duration = Duration::from_secs(600);

impl Running {
    /// Trims the rows of what operators did until the stop; called once by `open`.
    fn trim_audit(&self, threads: &Threads, bounds: AuditBounds) {
        let stop = self.stopping();
        let host = std::sync::Arc::clone(self.host());
        let trimming = async move {
            let mut turns = tokio::time::interval(AUDIT_EVERY);
            let trim = async {
                loop {
                    turns.tick().await;
                    match host.trim_audit(bounds).await {
                        Ok(0) => {}
                        Ok(rows) => tracing::info!(rows, "removed audit rows that were too old or too many"),
                        // The next turn may find the disk better.
                        Err(error) => tracing::warn!(%error, "could not trim the audit rows"),
                    }
                }
            };
            tokio::select! {
                () = stop => {}
                () = trim => {}
            }
        };
        self.keep(threads.host().spawn(trimming));
    }

    /// Serves the admin API until the stop; called once by `open`.
    fn serve_admin(&self, threads: &Threads, listener: tokio::net::TcpListener) {
        let stop = self.stopping();
        let host = std::sync::Arc::clone(self.host());
        let serving = async move {
            if let Err(error) = admin::serve(listener, host, stop).await {
                tracing::error!(%error, "the admin API ended");
            }
        };
        self.keep(threads.host().spawn(serving));
    }
}
