//! The decisions by tables and properties: a sled on which all is well, and everything that
//! can be otherwise.

mod adapter;
mod attach;
mod block;
mod care;
mod difference;
mod distinct;
mod enforcement;
mod extents;
mod failure;
mod fixed_point;
mod lacks;
mod machine;
mod manager;
mod network;
mod notices;
mod pending;
mod permits;
mod plan;
mod properties;
mod rebuild;
mod remedy;
mod scrub;
mod settle;
mod single;
mod storage;
mod tls;
mod update;
mod verdict;
mod verification;

use super::facts::{
    Active, Beat, Bridge, Bus, Busy, Disk, Facts, Holder, Network, Nic, OnDisk, PortState, Pulse, Region, Settled,
    Sockets, Survey, Unit, Usb,
};
use crate::config::{self, Configuration, Sources};
use crate::names::{RegionName, VolumeName};
use crate::port_map::Fence;
use crate::region::{Geometry, Ledger, Mark, Record, RegionJson};
use crate::source::Source;
use jiff::Timestamp;
use uuid::Uuid;

const FIRST: &str = "still-fawn-0";

const MAP: &str = "[sleds.proper-raptor]\naddress = \"192.168.4.189\"\n[defaults]\nextent_count = 4\n[volumes.still-fawn]\n\
                   hosts = [\"192.168.4.17\"]\n\
                   regions = [\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"]\n";

/// A situation by its name, which a test that fails tells: what is otherwise in it than when all is well.
type Situation = (&'static str, fn(&mut Facts));

fn config() -> Configuration {
    config_of(MAP)
}

pub(super) fn config_of(map: &str) -> Configuration {
    let source = |text: &str| Source { file: "f".into(), text: Ok(text.into()) };
    let sled = vec![source(include_str!("../../../etc/sled.toml"))];
    config::read(&Sources { sled, port_map: source(map), ephemeral: 32768..=60999 }).unwrap()
}

fn volume() -> VolumeName {
    "still-fawn".parse().unwrap()
}

fn first() -> RegionName {
    FIRST.parse().unwrap()
}

/// All is well.
fn well(config: &Configuration) -> Facts {
    let mut disk = Disk { serial: 7, mounted: true, capacity: 1 << 40, free: 1 << 39, ..Disk::default() };
    let (mut ledger, mark) = (Ledger::default(), Mark::new(config.sled.name.clone()));
    let mut facts = Facts {
        bus: Some(Bus::Connected),
        network: Some(network(config)),
        settled: Settled::Done(mark.disk),
        intruders: Some(Default::default()),
        grants: Some(Default::default()),
        ..Facts::default()
    };
    for (index, local) in config.local_regions().into_iter().enumerate() {
        let pid = u32::try_from(100 + index).unwrap();
        let (uuid, geometry) = (Uuid::from_u128(pid.into()), local.geometry);
        let record = Record { uuid, geometry, created: Timestamp::UNIX_EPOCH, by: "a test".into() };
        ledger.regions.insert(local.name.clone(), record);
        disk.regions.insert(local.name.clone(), OnDisk::Present(on_disk(uuid, geometry)));
        let fence = Fence::around(&config.map, local.name.volume(), None);
        facts.regions.insert(local.name, serving(pid, uuid, fence));
    }
    (disk.ledger, disk.mark) = (Ok(ledger), Ok(Some(mark)));
    facts.disk = Some(disk);
    facts
}

/// A network that can be used.
fn network(config: &Configuration) -> Network {
    let nic = Nic {
        up: true,
        carrier: true,
        master: Some("br0".into()),
        link_mbps: Some(2500),
        usb: Some(Usb { path: "2-1".into(), mbps: Some(5000), ..Usb::default() }),
        mtu: Some(1500),
        port: Some(PortState::Forwarding),
        ..Nic::default()
    };
    let bridge = Bridge {
        up: true,
        addresses: vec![config.address],
        prefixes: [(config.address, 24)].into(),
        mtu: Some(1500),
        ..Bridge::default()
    };
    Network {
        nic: Some(nic),
        bridge: Some(bridge),
        default_v4: true,
        kernel: Some("6.12.57+deb13-amd64".into()),
        ..Network::default()
    }
}

/// What a region's directory tells of it.
fn on_disk(uuid: Uuid, geometry: Geometry) -> RegionJson {
    let json = format!(
        "{{\"block_size\":{},\"extent_size\":{{\"value\":{},\"shift\":12}},\"extent_count\":{},\"uuid\":\"{uuid}\",\
         \"encrypted\":false,\"database_read_version\":1,\"database_write_version\":1}}",
        geometry.block_size, geometry.extent_size, geometry.extent_count
    );
    RegionJson::parse(json.as_bytes()).unwrap()
}

/// A region that serves, by this process.
fn serving(pid: u32, uuid: Uuid, fence: Fence) -> Region {
    let unit = Unit {
        active: Active::Active,
        pid: Some(pid),
        exit: None,
        result: "success".into(),
        restarts: 0,
        invocation: Some(pid.to_string()),
        since: None,
        masked: false,
        fence: Some(fence),
    };
    let sockets = Sockets {
        pid: Some(pid),
        data: Holder::Own,
        repair: Holder::Own,
        elsewhere: vec![],
        connected: vec![],
        dropped: 0,
    };
    let pulse = Pulse { pid, beat: Beat::Answering, identity: Some(Ok(uuid)), presents: None };
    Region { unit: Some(unit), sockets: Some(sockets), pulse: Some(pulse), ..Region::default() }
}

fn region(facts: &mut Facts) -> &mut Region {
    facts.regions.get_mut(&first()).unwrap()
}

/// The first region, stopped, with nobody on its ports.
fn stopped(facts: &mut Facts) {
    let region = region(facts);
    region.unit = Some(unit(Active::Inactive));
    let nobody = (Holder::Nobody, Holder::Nobody);
    region.sockets =
        Some(Sockets { pid: None, data: nobody.0, repair: nobody.1, elsewhere: vec![], connected: vec![], dropped: 0 });
    region.pulse = None;
}

/// The fence of a unit of the only volume before a ticket was granted.
fn fence() -> Option<Fence> {
    Some(Fence::around(&config().map, &volume(), None))
}

/// A unit without a process.
fn unit(active: Active) -> Unit {
    Unit {
        active,
        pid: None,
        exit: None,
        result: "success".into(),
        restarts: 0,
        invocation: None,
        since: None,
        masked: false,
        fence: fence(),
    }
}
