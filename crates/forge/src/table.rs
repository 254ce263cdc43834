//! Keeps one client for each repository and token, so that rate limits and known responses are shared.
//!
//! This module opens no connections itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use model::forge::ForgePlace;
use model::secret::Secret;

use super::calls::{Call, Calls};
use super::{Forge, ForgeError, connect};

/// All clients.
#[derive(Default)]
pub struct Forges {
    clients: Mutex<HashMap<(ForgePlace, String), Arc<dyn Forge>>>,
    calls: Arc<Calls>,
}

impl Forges {
    /// Returns the client for this repository and token.
    pub fn client(&self, place: &ForgePlace, token: &Secret) -> Result<Arc<dyn Forge>, ForgeError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.clone(), token.expose().to_owned());
        if let Some(client) = clients.get(&key) {
            return Ok(Arc::clone(client));
        }
        // A token that was replaced is not used again.
        clients.retain(|(known, _), _| known != place);
        let client: Arc<dyn Forge> = Arc::from(connect(place, token, &self.calls)?);
        clients.insert(key, Arc::clone(&client));
        Ok(client)
    }

    /// Returns how often each response was received since this table was created.
    pub fn calls(&self) -> BTreeMap<Call, u64> {
        self.calls.all()
    }
}
