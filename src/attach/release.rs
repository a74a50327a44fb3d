//! Release of a volume on every sled that granted it to this host: the next host need not wait whether this one comes
//! back. A host that has won lets go when it has done with the volume; one that has lost a ballot does so at once, so
//! that what some sleds granted it is in nobody's way.

use super::client::{self, Trouble};
use super::endpoint::Endpoint;
use super::sleds::Sleds;
use crate::names::{SledName, VolumeName};
use crate::wire::Released;
use futures_util::future::join_all;
use std::collections::BTreeMap;

/// The sleds that have granted a volume to this host, where they are, and with which generation.
#[derive(Debug, Default)]
pub(super) struct Granted(BTreeMap<SledName, (Endpoint, u64)>);

/// The outcome of a release, by sled.
pub(super) type Outcome = BTreeMap<SledName, Result<Released, Trouble>>;

impl Granted {
    /// Note a sled that has granted it.
    pub(super) fn add(&mut self, sled: SledName, at: Endpoint, generation: u64) {
        self.0.insert(sled, (at, generation));
    }

    /// The grants that the sleds say that this host holds, as each of them sees it.
    pub(super) fn held(sleds: &Sleds) -> Self {
        let mut held = Self::default();
        for look in sleds.looks() {
            let own = |holder: &&crate::wire::Holder| holder.address.to_canonical() == look.from && !holder.released;
            if let Some(holder) = look.volume.holder.as_ref().filter(own) {
                let name = look.volume.sled.clone();
                let address =
                    look.volume.regions.iter().find(|region| region.sled == name).map(|region| region.address);
                let Some(address) = address else { continue };
                held.add(name.clone(), sleds.endpoint_of(&name, address), holder.generation);
            }
        }
        held
    }

    /// Release the volume everywhere, at once. A sled that has granted more meanwhile keeps that.
    pub(super) async fn release(self, volume: &VolumeName) -> Outcome {
        let each = self.0.into_iter().map(async |(sled, (at, generation))| {
            let released = client::release(&at, volume, generation).await;
            (sled, released)
        });
        join_all(each).await.into_iter().collect()
    }
}
