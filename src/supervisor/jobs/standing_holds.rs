//! Holds that stand: what the loop has put on hold, for as long as nobody has taken it away. Shared by all work; it knows
//! of no record.

use crate::names::RegionName;
use crate::region::Hold;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Holds that the loop has put, as long as nobody has taken them away. One may be on its way to the ledger for as long
/// as the disk takes: it is put there only if it is among these still, and taken away from both while nobody else
/// changes the ledger.
#[derive(Clone, Default)]
pub(super) struct StandingHolds(Arc<Mutex<BTreeMap<RegionName, Hold>>>);

impl StandingHolds {
    /// Lock them: to read or to change.
    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<RegionName, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forget the hold of a region, and return it.
    pub(super) fn take(&self, name: &RegionName) -> Option<Hold> {
        self.all().remove(name)
    }

    /// Find the hold of a region.
    pub(super) fn of(&self, name: &RegionName) -> Option<Hold> {
        self.all().get(name).cloned()
    }
}
