//! Sleds as the page shows them, with fixed names and times: one that is well, and what goes wrong with it.

use crucible_sled::check::Code;
use crucible_sled::names::RegionName;
use crucible_sled::page::{self, View};
use crucible_sled::wire::{Check, Day, Error, Event, Sled, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The time at which the pictures are taken.
pub const NOW: &str = "2026-11-30T03:18:05Z";
const OWN: &str = "proper-raptor";
const ADDRESS: &str = "192.168.4.189";
/// The sleds of the map, with their addresses.
const SLEDS: [(&str, &str); 3] = [(OWN, ADDRESS), ("quick-otter", "192.168.4.190"), ("calm-heron", "192.168.4.191")];
/// Its volumes, with the first port, the host's address, and where the second and the third region are.
const VOLUMES: [(&str, u16, &str, [usize; 3]); 3] = [
    ("still-fawn", 3830, "192.168.4.17", [0, 0, 0]),
    ("pumped-piglet", 3840, "192.168.4.175", [0, 0, 0]),
    ("chief-horse", 3850, "192.168.4.19", [0, 1, 2]),
];

/// Every sample by its name, with its status and its page.
pub fn all() -> Vec<(&'static str, u16, String)> {
    vec![
        ("well", 200, page::sled(&well())),
        ("region-down", 200, page::sled(&region_down())),
        ("nic-usb2", 200, page::sled(&nic_usb2())),
        ("disk-missing", 200, page::sled(&disk_missing())),
        ("refused", 503, page::refused(&faults())),
    ]
}

fn region(volume: (&str, u16, &str, [usize; 3]), index: usize) -> Value {
    let (name, port, host, places) = volume;
    let (sled, address) = SLEDS[places[index]];
    let here = places[index] == 0;
    let connected = json!([{ "address": host, "port": 50000 + index, "host": name }]);
    json!({
        "name": format!("{name}-{index}"), "index": index, "sled": sled, "address": address,
        "port": port + index as u16, "repair_port": port + 4000 + index as u16,
        "state": here.then_some("serving"), "since": here.then_some("2026-11-27T18:02:11Z"),
        "connected": if here { connected } else { json!([]) },
    })
}

fn volume(volume: (&str, u16, &str, [usize; 3])) -> Value {
    let (name, _, host, places) = volume;
    let regions: Vec<_> = (0..3).map(|index| region(volume, index)).collect();
    let names: Vec<_> = (0..3).filter(|index| places[*index] == 0).map(|index| format!("{name}-{index}")).collect();
    let since = "2026-11-27T18:05:40Z";
    json!({
        "volume": name, "ready": true, "revision": 1, "as_of": NOW, "sled": OWN, "port_map": "",
        "fault_tolerance": usize::from(places != [0, 0, 0]), "size_bytes": 13_421_772_800_u64, "hosts": [host],
        "regions": regions, "checks": [], "generation": 1_764_266_740,
        "holder": { "address": host, "host": name, "generation": 1_764_266_740, "since": since },
        "attached": [{ "address": host, "host": name, "since": since, "regions": names }],
    })
}

/// A sled of which all is well; one of its regions was away for some minutes yesterday.
pub fn well() -> View {
    let gib = |gib: u64| gib << 30;
    let storage = json!({
        "root": "/crucible", "mounted": true, "capacity_bytes": gib(931), "free_bytes": gib(812),
        "promised_bytes": gib(175), "used_bytes": gib(104), "reserve_bytes": gib(46), "provisioning": "thin",
        "unreserved_bytes": gib(71), "regions": [], "trash": [], "disk": null, "belongs_to": OWN,
    });
    let sled = json!({
        "sled": OWN, "version": "0.1.0", "as_of": NOW, "started": "2026-11-27T18:01:58Z", "address": ADDRESS,
        "port_map": "sha256:6be4a1c9e90f1d1a4f3a7e3a7f31c1d0b5b7c2f4a98d50c3d0e1f2a3b4c5d6e7", "well": true,
        "network": { "nic": "enx00e04ca81110", "carrier": true, "link_mbps": 2500, "usb_mbps": 5000, "bridge": "br0",
            "addresses": [ADDRESS] },
        "storage": storage, "volumes": VOLUMES.map(volume), "checks": [],
    });
    let address = |text: &str| text.parse().unwrap();
    let mut sled: Sled = serde_json::from_value(sled).unwrap();
    sled.volumes[0].regions[1].since = Some("2026-11-29T15:27:10Z".parse().unwrap());
    View {
        sled: Arc::new(sled),
        storage: Arc::new(serde_json::from_value(storage).unwrap()),
        jobs: Arc::new([(41, job(41, "restart", "still-fawn-1", "done", "serving", None))].into()),
        elsewhere: [("far-lynx".parse().unwrap(), vec!["quick-otter".parse().unwrap()])].into(),
        sleds: SLEDS.map(|(name, at)| (name.parse().unwrap(), address(at))).into(),
        names: VOLUMES.map(|(name, _, host, _)| (address(host), name.to_owned())).into(),
        configuration: Some(12),
        days: Arc::new(days(&[])),
        events: events().into(),
    }
}

/// The day of each region that was watched: what happened yesterday, and these changes after it.
fn days(later: &[(&str, State)]) -> BTreeMap<RegionName, Day> {
    let at = |text: &str| text.parse().unwrap();
    let mut quiet = Day::begin(at("2026-11-27T18:02:11Z"));
    quiet.note(at("2026-11-27T18:02:11Z"), Some(State::Serving));
    let mut eventful = quiet.clone();
    let yesterday = [
        ("2026-11-29T14:40:00Z", State::Failed),
        ("2026-11-29T15:26:00Z", State::Starting),
        ("2026-11-29T15:27:10Z", State::Serving),
    ];
    yesterday.iter().chain(later).for_each(|(time, state)| eventful.note(at(time), Some(*state)));
    let names = VOLUMES.iter().flat_map(|(name, ..)| (0..3).map(move |index| format!("{name}-{index}")));
    let mut days: BTreeMap<RegionName, Day> = names.map(|name| (name.parse().unwrap(), quiet.clone())).collect();
    days.insert("still-fawn-1".parse().unwrap(), eventful);
    days
}

fn event(time: &str, kind: &str, subject: &str, more: Value) -> Event {
    let mut event = json!({ "id": 1, "time": time, "kind": kind, "subject": subject });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(event).unwrap()
}

/// What happened until yesterday.
fn events() -> Vec<Event> {
    let region = "region still-fawn-1";
    let state = |time, before, after| event(time, "region_state", region, json!({ "before": before, "after": after }));
    let down = json!({ "code": "REGION_DOWN", "cause": "its downstairs does not run: it ended with exit status 1" });
    vec![
        event("2026-11-27T18:01:58Z", "booted", "", json!({})),
        event(
            "2026-11-27T18:05:40Z",
            "ticket_granted",
            "volume still-fawn",
            json!({ "after": "192.168.4.17, 1764266740" }),
        ),
        state("2026-11-29T14:40:00Z", "serving", "failed"),
        event("2026-11-29T14:40:00Z", "check_raised", region, down),
        event("2026-11-29T15:26:00Z", "job_begun", region, json!({ "after": "41", "by": "user:root" })),
        state("2026-11-29T15:26:00Z", "failed", "starting"),
        state("2026-11-29T15:27:10Z", "starting", "serving"),
        event("2026-11-29T15:27:10Z", "check_over", region, json!({ "code": "REGION_DOWN" })),
        event("2026-11-29T15:27:10Z", "job_ended", region, json!({ "after": "done", "by": "user:root" })),
    ]
}

fn job(id: u64, kind: &str, region: &str, state: &str, step: &str, done: Option<u64>) -> crucible_sled::wire::Job {
    let progress = done.map(|done| json!({ "done": done, "total": 100 }));
    let took = (state != "running").then_some(70_000);
    serde_json::from_value(json!({
        "id": id, "kind": kind, "region": region, "state": state, "step": step, "progress": progress,
        "cancellable": true, "error": null, "asked": "2026-11-29T15:26:00Z", "took_ms": took,
    }))
    .unwrap()
}

fn check(code: Code, subject: &str, cause: &str, remedy: &str) -> Check {
    let (severity, since) = (code.severity(), "2026-11-30T03:06:41Z".parse().unwrap());
    Check { code, severity, subject: subject.into(), cause: cause.into(), remedy: remedy.into(), since }
}

/// One region's downstairs has ended, and another region is being created.
pub fn region_down() -> View {
    let mut view = well();
    let sled = Arc::make_mut(&mut view.sled);
    let down = check(
        Code::RegionDown,
        "region still-fawn-1",
        "its downstairs does not run: it ended with exit status 1: \"failed to open extent 17: Input/output error\"",
        "read why: journalctl -u crucible-downstairs@still-fawn-1 -n 50; it is started again without a hand",
    );
    let open = check(
        Code::VolumeOpen,
        "volume pumped-piglet",
        "the port map names no hosts for it: any machine on the network may attach it",
        "write hosts = [\"ADDRESS\"] under [volumes.pumped-piglet] of port-map.toml",
    );
    sled.volumes[1].hosts.clear();
    let volume = &mut sled.volumes[0];
    (volume.ready, volume.checks) = (false, vec![down.clone()]);
    let region = &mut volume.regions[1];
    (region.state, region.since) = (Some(State::Failed), Some(down.since));
    region.connected.clear();
    (sled.checks, sled.well) = (vec![down, open], false);
    view.days = Arc::new(days(&[("2026-11-30T03:06:41Z", State::Failed)]));
    let creates = job(42, "create", "chief-horse-0", "running", "reserving blocks", Some(62));
    Arc::make_mut(&mut view.jobs).insert(42, creates);
    view
}

/// The adapter hangs on a slow port.
pub fn nic_usb2() -> View {
    let mut view = well();
    let sled = Arc::make_mut(&mut view.sled);
    sled.network.usb_mbps = Some(480);
    sled.checks = vec![check(
        Code::NicUsb2,
        "nic enx00e04ca81110",
        "enx00e04ca81110 hangs on a USB port at 480 Mbit/s, and 5000 are expected",
        Code::NicUsb2.remedy(),
    )];
    view
}

/// The data disk is not mounted: nothing runs.
pub fn disk_missing() -> View {
    let mut view = well();
    let sled = Arc::make_mut(&mut view.sled);
    let disk = check(
        Code::DataNotMounted,
        "storage /crucible",
        "no file system is mounted at /crucible: nothing is created and nothing is started",
        "mount the data disk at /crucible (systemctl status '*.mount' shows why it is not)",
    );
    for volume in &mut sled.volumes {
        (volume.ready, volume.checks) = (false, vec![disk.clone()]);
        (volume.holder, volume.attached) = (None, vec![]);
        for region in volume.regions.iter_mut().filter(|region| region.state.is_some()) {
            (region.state, region.since) = (Some(State::Stopped), Some(disk.since));
            region.connected.clear();
        }
    }
    (sled.checks, sled.well) = (vec![disk], false);
    let storage = Arc::make_mut(&mut view.storage);
    (storage.storage.mounted, storage.storage.capacity_bytes) = (false, 0);
    view
}

/// The faults of a configuration.
fn faults() -> Error {
    let faults = "/etc/sled/port-map.toml:14: volumes.still-fawn.regions: has two regions, and a volume has three\n\
                  /etc/sled/sled.toml:3: sled.nmae: is not known here; name is meant?";
    Error::new(
        Code::ConfigInvalid,
        format!("the sled's configuration has 2 fault(s):\n{faults}"),
        "mend them (sledctl config check lists them), then: systemctl reload sledd",
    )
}
