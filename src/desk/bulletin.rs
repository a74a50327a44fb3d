//! Bulletin: everything that the faces show, as it was published last. Never how it comes about.

use crate::desk::body::{Body, body};
use crate::desk::metrics::Metrics;
use crate::names::{RegionName, SledName, VolumeName};
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Verdict, and all else that the faces show.
#[derive(Debug, Default)]
pub struct Bulletin {
    /// Volumes with a region on this sled, by name.
    pub volumes: BTreeMap<VolumeName, Page>,
    /// Other volumes of the map, with the sleds that carry them.
    pub elsewhere: BTreeMap<VolumeName, Vec<SledName>>,
    /// View of the sled: all that is shown of it.
    pub whole: Option<Arc<wire::Sled>>,
    /// Body of `/v1/volumes`.
    pub brief: Body,
    /// Body of `/v1/sled`.
    pub sled: Body,
    /// Body of `/v1/storage`.
    pub storage: Body,
    /// Body of `/v1/network`.
    pub network: Body,
    /// Body of `/v1/hardware`.
    pub hardware: Body,
    /// Body of `/v1/ports`.
    pub ports: Body,
    /// Body of `/v1/targets`.
    pub targets: Body,
    /// Body of `/v1/maintenance`.
    pub maintenance: Body,
    /// Page at `/`.
    pub page: Body,
    /// Page of `/metrics`.
    pub metrics: Metrics,
    /// Jobs that are remembered, every one.
    pub jobs: Arc<BTreeMap<u64, wire::Job>>,
    /// Last events, the oldest first.
    pub events: Arc<[wire::Event]>,
    /// Last 24 hours of each region on this sled.
    pub days: Arc<BTreeMap<RegionName, wire::Day>>,
    /// Hosts and sleds of the map, and who is connected: they are never without a place to ask.
    pub known: BTreeSet<IpAddr>,
    /// Names by which this sled may be asked over HTTP, beside those that are private to a network.
    pub names: BTreeSet<String>,
    /// Reason why there is no verdict at all.
    pub broken: Option<wire::Error>,
}

/// Page of one volume: its body.
#[derive(Debug, Clone)]
pub struct Page {
    /// A host may attach it now.
    pub ready: bool,
    /// Revision, which changes when the body does.
    pub revision: u64,
    /// Body of the page.
    pub body: Body,
}

/// Make the pages of a sled's volumes.
pub fn pages(sled: &Arc<wire::Sled>) -> BTreeMap<VolumeName, Page> {
    let page = |(at, volume): (usize, &wire::Volume)| {
        let sled = sled.clone();
        let body = Body::of(move || body(&sled.volumes[at]));
        (volume.volume.clone(), Page { ready: volume.ready, revision: volume.revision, body })
    };
    sled.volumes.iter().enumerate().map(page).collect()
}
