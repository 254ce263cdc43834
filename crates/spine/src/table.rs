//! All things of one kind in memory, by ID and by age. Listing them needs no git, no network and no files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;

use crate::recorded::Recorded;
use crate::slot::Slot;

/// The position of a thing in the list of all things of its kind.
pub type Age<A> = (Timestamp, <A as Recorded>::Id);

/// All things of one kind.
pub struct Table<A: Recorded> {
    inner: RwLock<Tables<A>>,
}

struct Tables<A: Recorded> {
    ids: HashMap<A::Id, Arc<Slot<A>>>,
    ages: BTreeMap<Age<A>, Arc<Slot<A>>>,
    keys: HashMap<String, A::Id>,
    /// Things that were removed since this server started. Removing them again is harmless.
    removed: HashSet<A::Id>,
}

impl<A: Recorded> Default for Table<A> {
    fn default() -> Self {
        let (ids, ages, keys, removed) = (HashMap::new(), BTreeMap::new(), HashMap::new(), HashSet::new());
        Self { inner: RwLock::new(Tables { ids, ages, keys, removed }) }
    }
}

impl<A: Recorded> Slot<A> {
    /// Returns the position in the list of all things of this kind.
    pub fn age(&self) -> Age<A> {
        (self.created_at, self.id)
    }
}

impl<A: Recorded> Table<A> {
    fn read(&self) -> RwLockReadGuard<'_, Tables<A>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables<A>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a thing.
    pub fn insert(&self, slot: &Arc<Slot<A>>) {
        let mut tables = self.write();
        if let Some(key) = A::key_of(&slot.record()) {
            tables.keys.insert(key.to_owned(), slot.id);
        }
        tables.ages.insert(slot.age(), Arc::clone(slot));
        tables.ids.insert(slot.id, Arc::clone(slot));
        tables.removed.remove(&slot.id);
    }

    /// Removes a thing.
    pub fn remove(&self, slot: &Slot<A>) {
        let mut tables = self.write();
        tables.ids.remove(&slot.id);
        tables.removed.insert(slot.id);
        tables.ages.remove(&slot.age());
        if let Some(key) = A::key_of(&slot.record()) {
            tables.keys.remove(key);
        }
    }

    /// Returns the thing with this ID.
    pub fn get(&self, id: A::Id) -> Option<Arc<Slot<A>>> {
        self.read().ids.get(&id).cloned()
    }

    /// Whether this server removed the thing.
    pub fn was_removed(&self, id: A::Id) -> bool {
        self.read().removed.contains(&id)
    }

    /// Returns the thing that a request with this idempotency key created.
    pub fn by_key(&self, key: &str) -> Option<Arc<Slot<A>>> {
        let tables = self.read();
        tables.ids.get(tables.keys.get(key)?).cloned()
    }

    /// Returns the things older than `before`, newest first.
    pub fn newest(&self, before: Option<Age<A>>) -> Vec<Arc<Slot<A>>> {
        let tables = self.read();
        match before {
            Some(age) => tables.ages.range(..age).rev().map(|(_, slot)| Arc::clone(slot)).collect(),
            None => tables.ages.values().rev().cloned().collect(),
        }
    }

    /// Returns all things, newest first.
    pub fn all(&self) -> Vec<Arc<Slot<A>>> {
        self.newest(None)
    }

    /// Returns the things that match, oldest first.
    pub fn matching(&self, is_match: impl Fn(&Slot<A>) -> bool) -> Vec<Arc<Slot<A>>> {
        self.read().ages.values().filter(|slot| is_match(slot)).cloned().collect()
    }

    /// Returns how many things match.
    pub fn count(&self, is_match: impl Fn(&Slot<A>) -> bool) -> usize {
        self.read().ages.values().filter(|slot| is_match(slot)).count()
    }
}
