//! View that the page at `/` is made from: what was published, and what the configuration says of the places that it
//! names.

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::desk::body::Body;
use crate::names::{RegionName, SledName, VolumeName};
use crate::page::{self, View};
use crate::wire::{Day, Event, Job, Sled, StorageDetail};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Volumes of which no region is here, each with the sleds that carry it.
type Elsewhere = BTreeMap<VolumeName, Vec<SledName>>;

/// What was published, and the page is made from.
pub(super) struct Published {
    pub(super) sled: Arc<Sled>,
    pub(super) storage: Arc<StorageDetail>,
    pub(super) jobs: Arc<BTreeMap<u64, Job>>,
    pub(super) elsewhere: Elsewhere,
    pub(super) days: Arc<BTreeMap<RegionName, Day>>,
    pub(super) events: Arc<[Event]>,
}

/// Make the page, which is rendered when somebody asks for it.
pub(super) fn page(config: &Arc<Configuration>, facts: &Facts, published: Published) -> Body {
    let (config, Published { sled, storage, jobs, elsewhere, days, events }) = (config.clone(), published);
    let configuration = facts.in_force.as_ref().and_then(|in_force| in_force.number);
    Body::of(move || {
        let sleds = config.map.sleds.iter().map(|(name, sled)| (name.clone(), sled.address)).collect();
        let names = names(&config);
        page::sled(&View { sled, storage, jobs, elsewhere, sleds, names, configuration, days, events }).into()
    })
}

/// Name those who have an address in the map: a host before a sled, as elsewhere.
fn names(config: &Configuration) -> BTreeMap<IpAddr, String> {
    let sleds = config.map.sleds.iter().map(|(name, sled)| (sled.address, name.to_string()));
    let hosts = config.map.hosts.iter().map(|(name, address)| (*address, name.to_string()));
    sleds.chain(hosts).collect()
}

/// List the volumes of the map of which no region is here, each with the sleds that carry it.
pub(super) fn elsewhere(config: &Configuration, sled: &Sled) -> Elsewhere {
    let here = |name: &VolumeName| sled.volumes.iter().any(|volume| volume.volume == *name);
    let others = config.map.volumes.iter().filter(|(name, _)| !here(name));
    others
        .map(|(name, volume)| {
            let mut sleds: Vec<_> = volume.regions.iter().map(|region| region.sled.clone()).collect();
            sleds.sort();
            sleds.dedup();
            (name.clone(), sleds)
        })
        .collect()
}
