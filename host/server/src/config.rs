//! The one config file of the host: sections, defaults, documentation, checks.
//!
//! Every field states what it does, its unit, its default and what a large or small value costs; `bugle config print` is made
//! from the same text. Knows nothing of the parts it configures, which take what they need from here in `serve`.
//!
//! Invariant: a [`Config`] that [`Config::load`] returned passed every check that can be made without starting.

mod check;
mod print;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hint;
use crate::quantity::{Duration, Size};

pub use check::Problem;

/// Declares a section: its fields, their defaults and their documentation, in one place.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $kind:ty = $default:expr,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $name {
            fn print(&self, page: &mut print::Page) {
                $(page.field(&[$($doc),*], stringify!($field), &self.$field);)*
            }
        }
    };
}

section! {
    /// Where producers connect.
    Quic {
        /// Address and UDP port. Default 127.0.0.1:4747. Anything but loopback needs `certificate` and `key`; port 0 takes a free
        /// one, which is printed at start and written to `endpoints.json`.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4747)),
        /// PEM file with the certificate chain. Default: a development certificate made on first start in the data directory,
        /// which clients pin by its fingerprint.
        certificate: Option<PathBuf> = None,
        /// PEM file with the private key of `certificate`.
        key: Option<PathBuf> = None,
        /// SHA-256 of each bearer token that producers may present, 64 hexadecimal digits (`printf %s TOKEN | sha256sum`). Default
        /// none: no token is asked for, which is allowed on loopback only.
        tokens: Vec<String> = Vec::new(),
        /// Producers connected at once. Default 1024; each costs about 100KiB when idle. More are turned away.
        sessions: u32 = 1024,
    }
}

section! {
    /// Where operators connect: admin API, metrics, health.
    Admin {
        /// Address and TCP port, loopback only. Default 127.0.0.1:4749; port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4749)),
        /// Further names that a request may carry in its `Host` header, besides loopback ones. Default none. Each one is a door for
        /// pages that rebind a name to this machine, so add only what a trusted proxy sends.
        allowed_hosts: Vec<String> = Vec::new(),
    }
}

section! {
    /// Where providers call back to say what became of what was sent.
    Inbound {
        /// Address and TCP port, loopback only: plain HTTP for a proxy that ends TLS and hands on `/inbound/SUBSCRIPTION`. Default none:
        /// no callback is taken. Port 0 takes a free one, which is printed at start and written to `endpoints.json`.
        listen: Option<SocketAddr> = None,
        /// Callbacks that plugins work on at once; more are answered 503. Default 16; each takes an instance of `sandbox.instances`.
        concurrency: u32 = 16,
    }
}

section! {
    /// What producers may send and how long their retries are recognised.
    Publish {
        /// Ids remembered for recognising a repeated publish. Default 10000000; costs about 12 bytes of memory each.
        id_window_ids: u64 = 10_000_000,
        /// Ids older than this are forgotten, however few there are. Default 24h.
        id_window: Duration = Duration::from_secs(24 * 3600),
    }
}

section! {
    /// The log and the state on disk.
    Storage {
        /// Bytes after which the log begins a new epoch, the unit in which old events are dropped. Default 2GiB, at most 4GiB. Small:
        /// finer retention, more files.
        epoch: Size = Size::mib(2048),
        /// Newest events kept in memory for subscriptions that keep up. Default 128MiB. Small: a short stall sends readers to disk.
        tail_ring: Size = Size::mib(128),
        /// How long send records are kept. Default 90d, at least 1h. Large: more disk, about 500 bytes for each state of a record.
        records: Duration = Duration::from_secs(90 * 24 * 3600),
        /// How long rows of what operators did are kept. Default 400d, at least 1d.
        audit: Duration = Duration::from_secs(400 * 24 * 3600),
        /// How many of those rows are kept at most, the latest. Default 100000, at least 1000; each takes about 300 bytes.
        audit_rows: u64 = 100_000,
    }
}

section! {
    /// Plugins at run time: bounds that hold for every guest, whatever its manifest asks for.
    Sandbox {
        /// Threads that run guest code. Default 0: one per core. More than cores makes every call slower.
        guest_threads: u32 = 0,
        /// Instances at once, waiting ones included. Default 1000. Each reserves 4GiB of address space and uses what it touches.
        instances: u32 = 1000,
        /// Memory of one instance, default and maximum of manifests. Default 64MiB.
        memory: Size = Size::mib(64),
        /// CPU time of one attempt, default and maximum of manifests. Default 1s. Large: a looping guest holds a thread longer.
        cpu: Duration = Duration::from_secs(1),
        /// Time of one attempt with all its waiting, default and maximum of manifests. Default 30s; keep it below the leases.
        wall: Duration = Duration::from_secs(30),
        /// Deliveries per instance before a fresh one takes over. Default 1000; a fresh one costs about ten calls' time.
        reuse: u32 = 1000,
        /// Largest component that can be deployed. Default 8MiB; Python plugins need 32MiB. Large: slower compiling.
        component: Size = Size::mib(8),
    }
}

section! {
    /// What leaves the host for plugins.
    Egress {
        /// PEM file with certificates trusted beside the built-in web roots. Default none.
        extra_roots: Option<PathBuf> = None,
    }
}

section! {
    /// The mail relay that `mail` uses; subscriptions get it by the grant `mail = true`.
    Mail {
        /// Name or address of the relay. Default none: every mail is refused.
        host: Option<String> = None,
        /// Port. Default 587; usual is 465 with `tls`.
        port: u16 = 587,
        /// Protection of the connection: `starttls`, `tls`, or `none` for a relay on this machine. Default starttls.
        security: Security = Security::Starttls,
        /// User at the relay. Default none.
        username: Option<String> = None,
        /// File that holds the password of `username`; a newline at its end is dropped. Default none.
        password_file: Option<PathBuf> = None,
        /// PEM file with certificates trusted for the relay, beside the built-in web roots and `egress.extra_roots`: for a relay
        /// with a certificate of your own authority. Default none.
        ca_file: Option<PathBuf> = None,
        /// Sender of mails that name none: `a@b.example` or `Name <a@b.example>`. Default none; needed with `host`.
        sender: Option<String> = None,
        /// Further senders that plugins may name: addresses, or `@b.example` for a whole domain. Default none.
        senders: Vec<String> = Vec::new(),
        /// Right part of each Message-ID. Default the sender's domain.
        domain: Option<String> = None,
    }
}

/// How the connection to the relay is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS after a plain greeting; refused if the relay has none.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None.
    None,
}

section! {
    /// What the host says of itself, to standard error. Payloads and keys are never logged.
    Log {
        /// Levels as in `info,bugle_broker=debug`; the environment variable RUST_LOG wins. Default info. `debug` costs a line per event.
        filter: String = "info".to_owned(),
        /// `text` for people, `json` for machines. Default text.
        format: LogFormat = LogFormat::Text,
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Everything `bugle serve` can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the host keeps everything; told in full by `bugle config print`.
    pub data_dir: PathBuf,
    /// Producers.
    pub quic: Quic,
    /// Operators.
    pub admin: Admin,
    /// Callbacks.
    pub inbound: Inbound,
    /// Publishing.
    pub publish: Publish,
    /// Disk.
    pub storage: Storage,
    /// Plugins.
    pub sandbox: Sandbox,
    /// The way out.
    pub egress: Egress,
    /// The mail relay.
    pub mail: Mail,
    /// Logs.
    pub log: Log,
}

/// Where the data directory is when nobody says.
pub const DATA_DIR_DEFAULT: &str = "bugle-data";

/// The config file that is read when none is named and it exists.
pub const FILE_DEFAULT: &str = "bugle.toml";

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from(DATA_DIR_DEFAULT),
            quic: Quic::default(),
            admin: Admin::default(),
            inbound: Inbound::default(),
            publish: Publish::default(),
            storage: Storage::default(),
            sandbox: Sandbox::default(),
            egress: Egress::default(),
            mail: Mail::default(),
            log: Log::default(),
        }
    }
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadConfigError {
    /// The file could not be read.
    #[error("could not read the config file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not a config: `FILE:LINE:COLUMN: what`.
    #[error("{0}")]
    Syntax(String),
    /// Values that cannot work; all of them at once.
    #[error("the config cannot work:{}", check::list(.0))]
    Invalid(Vec<Problem>),
}

impl Config {
    const fn data_dir_doc() -> &'static [&'static str] {
        &[
            " Directory of everything the host keeps: log, state, admin token, certificate. Default bugle-data, in the working",
            " directory. One host at a time; on a disk that honours flushes.",
        ]
    }

    /// Reads the named file, or `bugle.toml` if there is one, or takes the defaults; then checks.
    pub fn load(file: Option<&Path>) -> Result<(Config, Option<PathBuf>), LoadConfigError> {
        let fallback = Path::new(FILE_DEFAULT);
        let file = file.or_else(|| fallback.exists().then_some(fallback));
        let Some(path) = file else {
            return Ok((Config::default(), None));
        };
        let text =
            std::fs::read_to_string(path).map_err(|source| LoadConfigError::Read { path: path.to_owned(), source })?;
        let config = Config::parse(&path.display().to_string(), &text)?;
        Ok((config, Some(path.to_owned())))
    }

    /// Parses and checks the text of a config file.
    pub fn parse(file: &str, text: &str) -> Result<Config, LoadConfigError> {
        let config: Config =
            toml::from_str(text).map_err(|error| LoadConfigError::Syntax(hint::toml_error(file, text, &error)))?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(LoadConfigError::Invalid(problems)) }
    }

    /// The config as a file with every field explained.
    #[must_use]
    pub fn print(&self) -> String {
        let mut page = print::Page::default();
        page.field(Config::data_dir_doc(), "data_dir", &self.data_dir);
        page.section("quic", "Where producers connect.");
        self.quic.print(&mut page);
        page.section("admin", "Where operators connect: admin API, metrics, health.");
        self.admin.print(&mut page);
        page.section("inbound", "Where providers call back to say what became of what was sent.");
        self.inbound.print(&mut page);
        page.section("publish", "What producers may send and how long their retries are recognised.");
        self.publish.print(&mut page);
        page.section("storage", "The log and the state on disk.");
        self.storage.print(&mut page);
        page.section(
            "sandbox",
            "Plugins at run time: bounds that hold for every guest, whatever its manifest asks for.",
        );
        self.sandbox.print(&mut page);
        page.section("egress", "What leaves the host for plugins.");
        self.egress.print(&mut page);
        page.section("mail", "The mail relay that `mail` uses; subscriptions get it by the grant `mail = true`.");
        self.mail.print(&mut page);
        page.section("log", "What the host says of itself, to standard error.");
        self.log.print(&mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests;
