//! `config`: the subscription's settings, as checked when it was bound.

use crate::bindings::bugle::plugin::config;
use crate::calls::HostCalls;
use crate::state::State;

impl<C: HostCalls> config::Host for State<C> {
    fn get(&mut self, name: String) -> Option<String> {
        self.rights.settings.get(&name).cloned()
    }

    fn all(&mut self) -> Vec<(String, String)> {
        self.rights.settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}
