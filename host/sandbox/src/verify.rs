//! A first look at uploaded bytes, before anything is compiled: is it a component of this contract, and what does its manifest say?
//!
//! It reads structure only; types are checked when the component is linked.
//!
//! Invariant: bytes that are no component, or that are compiled code, get no further.

use bugle_core::delivery::Settles;
use wasmparser::{Encoding, Parser, Payload};

use crate::manifest::{Manifest, ManifestError};

/// Name of the custom section that holds the manifest.
const MANIFEST_SECTION: &str = "bugle:plugin";
/// What a channel exports, and what a batch channel does.
const HANDLER: &str = "bugle:plugin/handler@0.1.0";
const BATCH_HANDLER: &str = "bugle:plugin/batch-handler@0.1.0";
const LIFECYCLE: &str = "bugle:plugin/lifecycle@0.1.0";
/// What it may export beside them.
const RECONCILE: &str = "bugle:plugin/reconcile@0.1.0";
const TIMER_HANDLER: &str = "bugle:plugin/timer-handler@0.1.0";
const PACKED_HANDLER: &str = "bugle:plugin/packed-handler@0.1.0";
const INBOUND: &str = "bugle:plugin/inbound@0.1.0";

/// Interfaces of ours that a component may import.
const OURS: [&str; 13] = [
    "types", "ack", "dedup", "ordering", "records", "kv", "publish", "timers", "http", "mail", "secrets", "config",
    "log",
];

/// WASI interfaces that are linked. Files are among them since every guest's libc asks for its folders; there are none.
const WASI: [&str; 20] = [
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/random",
    "random/insecure",
    "random/insecure-seed",
];

/// Why bytes are not accepted as a plugin. The plugin's author must change something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Too many bytes.
    #[error("the component has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// Not WebAssembly, or broken.
    #[error("the file is not a WebAssembly component: {0}")]
    NotComponent(String),
    /// A core module.
    #[error("the file is a core module, not a component; build it for `wasm32-wasip2`")]
    CoreModule,
    /// Native code.
    #[error("the file is precompiled native code; upload the component itself")]
    Precompiled,
    /// No handler.
    #[error("the component does not export `{missing}`; build it for world `bugle:plugin/channel@0.1.0`")]
    MissingExport {
        /// The interface.
        missing: &'static str,
    },
    /// Both handlers.
    #[error(
        "the component exports both `handler` and `batch-handler`; build it for world `channel` or `batch-channel`"
    )]
    TwoHandlers,
    /// Something this host does not have.
    #[error("the component imports `{import}`, which this host does not offer")]
    UnknownImport {
        /// The import.
        import: String,
    },
    /// No manifest.
    #[error(
        "the component has no manifest; put plugin.toml into its custom section `bugle:plugin` or give it beside the file"
    )]
    NoManifest,
    /// Two manifests.
    #[error("the manifest given beside the component differs from the one in it; give only one")]
    TwoManifests,
    /// A bad manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// How a plugin takes its deliveries: the world it is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// One delivery per call.
    Channel,
    /// Several deliveries per call.
    BatchChannel,
}

impl World {
    /// Its name in `wit/`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            World::Channel => "channel",
            World::BatchChannel => "batch-channel",
        }
    }

    /// When verdicts by import take effect.
    pub(crate) fn settles(self) -> Settles {
        match self {
            World::Channel => Settles::AtReturn,
            World::BatchChannel => Settles::AtCall,
        }
    }
}

/// What the bytes say of themselves.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) manifest: Manifest,
    pub(crate) world: World,
    /// It exports `reconcile`.
    pub(crate) reconciles: bool,
    /// It exports `inbound`.
    pub(crate) receives: bool,
    /// It exports `timer-handler`.
    pub(crate) fires: bool,
    /// It exports `packed-handler`.
    pub(crate) unpacks: bool,
}

/// Reads and checks.
pub(crate) fn verify(bytes: &[u8], beside: Option<&str>, bytes_max: usize) -> Result<Verified, VerifyError> {
    if bytes.len() > bytes_max {
        return Err(VerifyError::TooLarge { bytes: bytes.len(), bytes_max });
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(VerifyError::Precompiled);
    }
    let seen = Seen::read(bytes)?;
    if let Some(import) = seen.imports.iter().find(|import| !is_known(import)) {
        return Err(VerifyError::UnknownImport { import: crate::output::printable(import) });
    }
    let exports = |wanted: &str| seen.exports.iter().any(|export| export == wanted);
    let world = match (exports(HANDLER), exports(BATCH_HANDLER)) {
        (true, false) => World::Channel,
        (false, true) => World::BatchChannel,
        (true, true) => return Err(VerifyError::TwoHandlers),
        (false, false) => return Err(VerifyError::MissingExport { missing: HANDLER }),
    };
    if !exports(LIFECYCLE) {
        return Err(VerifyError::MissingExport { missing: LIFECYCLE });
    }
    let text = match (seen.manifest, beside) {
        (Some(inside), Some(beside)) if inside != beside => return Err(VerifyError::TwoManifests),
        (Some(text), _) => text,
        (None, Some(text)) => text.to_owned(),
        (None, None) => return Err(VerifyError::NoManifest),
    };
    let (reconciles, receives, fires) = (exports(RECONCILE), exports(INBOUND), exports(TIMER_HANDLER));
    let unpacks = exports(PACKED_HANDLER);
    Ok(Verified { manifest: Manifest::parse(&text)?, world, reconciles, receives, fires, unpacks })
}

/// Whether the linker has it. Versions inside a track are compatible; the linker looks closer.
fn is_known(import: &str) -> bool {
    let Some((path, version)) = import.split_once('@') else { return false };
    if let Some(interface) = path.strip_prefix("bugle:plugin/") {
        return OURS.contains(&interface) && version.starts_with("0.1.");
    }
    path.strip_prefix("wasi:").is_some_and(|interface| WASI.contains(&interface) && version.starts_with("0.2."))
}

/// What a component shows on its outside, and the manifest from wherever in it.
#[derive(Default)]
struct Seen {
    imports: Vec<String>,
    exports: Vec<String>,
    manifest: Option<String>,
}

impl Seen {
    fn read(bytes: &[u8]) -> Result<Seen, VerifyError> {
        let broken = |error: wasmparser::BinaryReaderError| VerifyError::NotComponent(error.to_string());
        let mut seen = Seen::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(VerifyError::CoreModule);
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        seen.imports.push(import.map_err(broken)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        seen.exports.push(export.map_err(broken)?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                    seen.take_manifest(section.data())?;
                }
                _ => {}
            }
        }
        Ok(seen)
    }

    fn take_manifest(&mut self, data: &[u8]) -> Result<(), VerifyError> {
        let text = std::str::from_utf8(data)
            .map_err(|_| ManifestError::Syntax("the custom section `bugle:plugin` is not UTF-8".to_owned()))?;
        match &self.manifest {
            Some(other) if other != text => Err(VerifyError::TwoManifests),
            _ => {
                self.manifest = Some(text.to_owned());
                Ok(())
            }
        }
    }
}
