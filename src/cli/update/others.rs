//! Other sleds of this sled's volumes, asked at their doors how they are before this one goes away for an update.
//! They may run another version: of their answers only what is needed is read.

use crate::api::Operation;
use crate::cli::neighbours::{Doors, get_in_time};
use crate::decide::update::{MARK, Other};
use crate::names::{RegionName, SledName, VolumeName};
use crate::wire::Sled;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use tokio::task::JoinSet;

const SERVING: &str = "serving";
const BLOCKING: &str = "blocking";

/// Another sled's word on itself, as far as it matters.
#[derive(Debug, Clone, Deserialize)]
struct Theirs {
    sled: SledName,
    #[serde(default)]
    maintenance: Option<Maintenance>,
    volumes: Vec<Volume>,
}

#[derive(Debug, Clone, Deserialize)]
struct Maintenance {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Volume {
    volume: VolumeName,
    ready: bool,
    regions: Vec<Region>,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Debug, Clone, Deserialize)]
struct Region {
    name: RegionName,
    sled: SledName,
    state: Option<String>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    turn: bool,
    #[serde(default)]
    connected: Vec<Peer>,
}

#[derive(Debug, Clone, Deserialize)]
struct Peer {
    address: IpAddr,
}

#[derive(Debug, Clone, Deserialize)]
struct Check {
    code: String,
    severity: String,
}

/// What this sled counts on another one for: its regions of the volumes of both, and the hosts that are connected to
/// those of this one.
#[derive(Debug, Clone, Default)]
struct Counted {
    doors: Vec<SocketAddr>,
    regions: BTreeMap<RegionName, BTreeSet<IpAddr>>,
    settled: SignedDuration,
}

/// Ask every other sled that has regions of this sled's volumes. A region that was away is made up for by its hosts
/// first: it counts when it has served for the time `settled`.
pub(super) async fn others(own: &Sled, doors: &Doors, settled: SignedDuration) -> Vec<Other> {
    let mut asking = JoinSet::new();
    for (sled, mut counted) in counted(own, doors) {
        counted.settled = settled;
        asking.spawn(async move {
            let said = ask(&sled, &counted.doors).await;
            judge(sled, &counted, said.as_ref().map_err(String::as_str), Timestamp::now())
        });
    }
    asking.join_all().await
}

fn counted(own: &Sled, doors: &Doors) -> BTreeMap<SledName, Counted> {
    let mut all = BTreeMap::<SledName, Counted>::new();
    for volume in &own.volumes {
        let here = volume.regions.iter().filter(|region| region.sled == own.sled);
        let hosts: BTreeSet<_> = here.flat_map(|region| &region.connected).map(|peer| peer.address).collect();
        for region in volume.regions.iter().filter(|region| region.sled != own.sled) {
            let counted = all.entry(region.sled.clone()).or_default();
            counted.doors = doors.of(region.address);
            counted.regions.insert(region.name.clone(), hosts.clone());
        }
    }
    all
}

/// Ask a sled at all of these doors, and take the first answer that is its own.
async fn ask(sled: &SledName, doors: &[SocketAddr]) -> Result<Theirs, String> {
    let ask_at = |at| async move { (at, get_in_time::<Theirs>(at, &Operation::ShowSled {}).await) };
    let mut asking: JoinSet<_> = doors.iter().copied().map(ask_at).collect();
    let mut whys = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let Ok((at, asked)) = asked else { continue };
        match asked {
            Ok(Some(theirs)) if theirs.sled == *sled => return Ok(theirs),
            Ok(Some(theirs)) => whys.push(format!("{at}: {} answers there", theirs.sled)),
            Ok(None) => whys.push(format!("{at}: it is no sled")),
            Err(why) => whys.push(format!("{at}: {why}")),
        }
    }
    whys.sort();
    Err(whys.join("; "))
}

/// Judge how another sled is, by its own word.
fn judge(sled: SledName, counted: &Counted, said: Result<&Theirs, &str>, now: Timestamp) -> Other {
    let (updates, unwell) = match said {
        Err(why) => (false, Some(format!("it cannot be asked ({why})"))),
        Ok(theirs) => (is_updating(theirs), unwell(theirs, counted, now)),
    };
    Other { sled, updates, unwell }
}

fn is_updating(theirs: &Theirs) -> bool {
    let reason = theirs.maintenance.as_ref().and_then(|maintenance| maintenance.reason.as_ref());
    reason.is_some_and(|reason| reason.starts_with(MARK))
}

/// What is not well at a sled, of what is counted on.
fn unwell(theirs: &Theirs, counted: &Counted, now: Timestamp) -> Option<String> {
    if theirs.maintenance.is_some() {
        return Some("it is in maintenance".into());
    }
    counted.regions.iter().find_map(|(name, hosts)| {
        let volume = theirs.volumes.iter().find(|volume| volume.volume == *name.volume());
        let region = volume
            .and_then(|volume| volume.regions.iter().find(|region| region.name == *name && region.sled == theirs.sled));
        let (Some(volume), Some(region)) = (volume, region) else { return Some(format!("it knows no {name}")) };
        unwell_region(region, hosts, now - counted.settled).or_else(|| (!volume.ready).then(|| not_ready(volume)))
    })
}

fn unwell_region(region: &Region, hosts: &BTreeSet<IpAddr>, latest: Timestamp) -> Option<String> {
    let name = &region.name;
    if region.state.as_deref() != Some(SERVING) {
        return Some(format!("{name} is {}", region.state.as_deref().unwrap_or("not known")));
    }
    if region.turn {
        return Some(format!("a job is at {name}"));
    }
    let has = |host: &&IpAddr| region.connected.iter().any(|peer| peer.address == **host);
    if let Some(host) = hosts.iter().find(|host| !has(host)) {
        return Some(format!("{host} is not connected to {name}"));
    }
    let young = region.since.filter(|since| *since > latest);
    young.map(|since| format!("{name} serves only since {since:.0}, and its hosts may still be making up for that"))
}

fn not_ready(volume: &Volume) -> String {
    let blocking = volume.checks.iter().filter(|check| check.severity == BLOCKING);
    let mut codes: Vec<_> = blocking.map(|check| check.code.as_str()).collect();
    codes.dedup();
    format!("{} is not ready there ({})", volume.volume, codes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What is otherwise at the other sled, and what is said of it.
    type Row = (fn(&mut Value), &'static str);

    fn judged(change: impl Fn(&mut Value)) -> Other {
        let mut said = json!({
            "sled": "other", "more": {"of": "a newer version"}, "maintenance": null,
            "volumes": [{
                "volume": "still-fawn", "ready": true,
                "checks": [{"code": "BRAND_NEW", "severity": "information", "cause": "x"}],
                "regions": [
                    {"name": "still-fawn-0", "sled": "own", "state": null},
                    {"name": "still-fawn-1", "sled": "other", "state": "serving", "turn": false,
                     "since": "1970-01-01T00:00:00Z", "connected": [{"address": "192.168.4.17", "port": 9}]},
                ],
            }],
        });
        change(&mut said);
        let hosts = BTreeSet::from(["192.168.4.17".parse().unwrap()]);
        let settled = SignedDuration::from_mins(10);
        let regions = [("still-fawn-1".parse().unwrap(), hosts)].into();
        let counted = Counted { doors: Vec::new(), regions, settled };
        let theirs: Theirs = serde_json::from_value(said).unwrap();
        judge("other".parse().unwrap(), &counted, Ok(&theirs), Timestamp::UNIX_EPOCH + settled)
    }

    #[test]
    fn another_sled_is_well_or_says_what_is_not() {
        let well = judged(|_| {});
        assert_eq!((well.updates, well.unwell), (false, None));
        let rows: [Row; 8] = [
            (|said| said["volumes"][0]["regions"][1]["state"] = "held".into(), "still-fawn-1 is held"),
            (|said| said["volumes"][0]["regions"][1]["state"] = Value::Null, "not known"),
            (|said| said["volumes"][0]["regions"][1]["turn"] = true.into(), "a job is at still-fawn-1"),
            (|said| said["volumes"][0]["regions"][1]["connected"] = json!([]), "192.168.4.17 is not connected"),
            (|said| said["volumes"][0]["regions"][1]["since"] = "1970-01-01T00:00:01Z".into(), "serves only since"),
            (|said| said["volumes"] = json!([]), "knows no still-fawn-1"),
            (|said| said["maintenance"] = json!({"reason": "a new fan"}), "in maintenance"),
            (
                |said| {
                    said["volumes"][0]["ready"] = false.into();
                    said["volumes"][0]["checks"] = json!([{"code": "VOLUME_DRAINING", "severity": "blocking"}]);
                },
                "not ready there (VOLUME_DRAINING)",
            ),
        ];
        for (change, why) in rows {
            let other = judged(change);
            assert!(!other.updates && other.unwell.as_ref().is_some_and(|told| told.contains(why)), "{why}: {other:?}");
        }
        assert!(judged(|said| said["maintenance"] = json!({"reason": format!("{MARK} to 2")})).updates);
        let silent = judge("other".parse().unwrap(), &Counted::default(), Err("no answer"), Timestamp::UNIX_EPOCH);
        assert_eq!(silent.unwell.as_deref(), Some("it cannot be asked (no answer)"));
    }
}
