//! A loaded plugin, and one bound to a subscription, ready to be instantiated.
//!
//! Both are immutable: a new revision or binding is a new value, swapped in by pointer.

use bugle_core::ids::Revision;
use std::sync::Arc;
use wasmtime::component::Component;

use crate::bindings::ChannelPre;
use crate::bindings::batch::BatchChannelPre;
use crate::bindings::packing::PackingPre;
use crate::bindings::receiving::ReceivingPre;
use crate::bindings::reconciling::ReconcilingPre;
use crate::bindings::timing::TimingPre;
use crate::calls::HostCalls;
use crate::manifest::Manifest;
use crate::options::Bounds;
use crate::rights::Rights;
use crate::slots::Slots;
use crate::state::State;
use crate::verify::World;

/// A verified, compiled plugin. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Loaded>);

pub(crate) struct Loaded {
    pub(crate) revision: Revision,
    pub(crate) manifest: Manifest,
    pub(crate) world: World,
    /// It can be asked what became of an effect.
    pub(crate) reconciles: bool,
    /// Its provider can call back.
    pub(crate) receives: bool,
    /// Its timers can fire.
    pub(crate) fires: bool,
    /// It takes its deliveries in one piece.
    pub(crate) unpacks: bool,
    pub(crate) component: Component,
    /// Slots that one instance takes.
    pub(crate) slots: u32,
}

impl Plugin {
    /// SHA-256 of the component.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// How it takes its deliveries.
    #[must_use]
    pub fn world(&self) -> World {
        self.0.world
    }

    /// Whether it exports `reconcile`: it can be asked what became of an effect that may have happened.
    #[must_use]
    pub fn reconciles(&self) -> bool {
        self.0.reconciles
    }

    /// Whether it exports `inbound`: it understands callbacks of its provider.
    #[must_use]
    pub fn receives(&self) -> bool {
        self.0.receives
    }

    /// Whether it exports `timer-handler`: it can be woken up.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.0.fires
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.0.manifest.name)
            .field("revision", &self.0.revision)
            .finish_non_exhaustive()
    }
}

/// A plugin with the rights of one subscription.
pub struct Bound<C: HostCalls>(pub(crate) Arc<Active<C>>);

impl<C: HostCalls> std::fmt::Debug for Bound<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("rights", &self.0.rights).finish_non_exhaustive()
    }
}

/// A component that is linked, by what it exports.
pub(crate) enum Linked<C: HostCalls> {
    Channel(ChannelPre<State<C>>),
    Batch(BatchChannelPre<State<C>>),
    /// It takes its deliveries in one piece, whichever of the two it is.
    Packed(PackingPre<State<C>>),
}

pub(crate) struct Active<C: HostCalls> {
    pub(crate) linked: Linked<C>,
    /// The same component by its export `reconcile`, if it has that.
    pub(crate) reconciling: Option<ReconcilingPre<State<C>>>,
    /// The same component by its export `inbound`.
    pub(crate) receiving: Option<ReceivingPre<State<C>>>,
    /// The same component by its export `timer-handler`.
    pub(crate) timing: Option<TimingPre<State<C>>>,
    /// Where an instance to be asked, or for a callback, gets its place.
    pub(crate) places: Arc<Slots>,
    pub(crate) world: World,
    pub(crate) rights: Arc<Rights>,
    pub(crate) bounds: Bounds,
    pub(crate) concurrency: usize,
    pub(crate) slots: u32,
    pub(crate) revision: Revision,
}
