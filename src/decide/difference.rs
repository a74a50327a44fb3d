//! Difference between the configuration in force and another one, and what that means to the hosts that are connected
//! now.

use super::facts::Facts;
use crate::config::{Configuration, Network, Nic, Vlan};
use crate::names::{RegionName, VolumeName};
use crate::port_map::{Fence, LocalRegion};
use crate::region::Tombstone;
use crate::size;
use crate::wire::{Change, Difference};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

const AT_ONCE: &str = "at once";
const AT_BOOT: &str = "at the next boot of the image";
const ON_TRIAL: &str = "with the image at once, and taken back after 60 s, unless another machine reaches the sled by it or \
                        its operator keeps it (sledctl reload --confirm)";

/// Find the difference of two configurations.
pub fn difference(old: &Configuration, new: &Configuration, facts: &Facts) -> Difference {
    let volumes: BTreeSet<_> = old.map.volumes.keys().chain(new.map.volumes.keys()).collect();
    let mut changes: Vec<_> = settings(old, new).chain(tls(old, new, facts)).chain(sleds(old, new, facts)).collect();
    changes.extend(destroyed(old, new, facts));
    for volume in volumes {
        changes.extend(regions(old, new, facts, volume));
        changes.extend(hosts(old, new, facts, volume));
    }
    Difference { from: old.map.digest.clone(), to: new.map.digest.clone(), changes, ..Difference::default() }
}

/// The regions that the old configuration has here, and the new one has not.
pub fn gone(old: &Configuration, new: &Configuration) -> BTreeSet<RegionName> {
    let names = |config: &Configuration| config.local_regions().into_iter().map(|local| local.name);
    let kept: BTreeSet<_> = names(new).collect();
    names(old).filter(|name| !kept.contains(name)).collect()
}

/// The regions that both have here, and that must be started anew: at other ports, or with TLS where they were
/// started without it or the other way round, as far as that is known. Other files of TLS can wait for the next
/// start.
pub fn started_anew(old: &Configuration, new: &Configuration, facts: &Facts) -> Vec<LocalRegion> {
    let ports: BTreeMap<_, _> = old.local_regions().into_iter().map(|local| (local.name, local.port)).collect();
    let switched = old.sled.tls.is_some() != new.sled.tls.is_some();
    let speaks = |local: &LocalRegion| {
        let known = facts.regions.get(&local.name).and_then(|region| region.speaks_tls);
        known.unwrap_or(old.sled.tls.is_some())
    };
    let other = |local: &LocalRegion| switched && speaks(local) != new.sled.tls.is_some();
    let elsewhere =
        |local: &LocalRegion| ports.get(&local.name).is_some_and(|port| *port != local.port || other(local));
    new.local_regions().into_iter().filter(elsewhere).collect()
}

/// The regions of a volume, by their index, that other sleds have and that are to be found somewhere else by the new
/// map.
pub fn moved_elsewhere(old: &Configuration, new: &Configuration, volume: &VolumeName) -> [bool; 3] {
    let place = |config: &Configuration, index: usize| {
        let region = config.map.volumes.get(volume)?.regions.get(index)?;
        Some((config.map.sleds.get(&region.sled)?.address, region.port, region.sled != config.sled.name))
    };
    [0, 1, 2].map(|index| match (place(old, index), place(new, index)) {
        (from, to @ Some((_, _, true))) => from != to,
        _ => false,
    })
}

fn change(subject: String, what: String, effect: impl Into<String>) -> Change {
    Change { subject, what, effect: effect.into(), interrupts: false, needs_restart: false, needs_yes: false }
}

/// The changes that a running supervisor cannot take over: it holds sockets, a disk and an address.
fn fixed<'a>(old: &'a Configuration, new: &'a Configuration) -> impl Iterator<Item = Change> + 'a {
    let join = |config: &Configuration| config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let root = |config: &Configuration| {
        let storage = &config.sled.storage;
        format!("{}{}", storage.root.display(), if storage.require_mount { "" } else { " (no mount point)" })
    };
    let all = [
        ("sled.name", old.sled.name.to_string(), new.sled.name.to_string(), "systemctl restart sledd"),
        ("the sled's address", old.address.to_string(), new.address.to_string(), "systemctl restart sledd"),
        ("storage.root", root(old), root(new), "systemctl restart sledd"),
        ("http.listen", join(old), join(new), "systemctl restart sledd"),
    ];
    all.into_iter().filter(|(_, from, to, _)| from != to).map(|(key, from, to, command)| Change {
        needs_restart: true,
        ..change("sled.toml".into(), format!("{key}: {from} -> {to}"), format!("not without: {command}"))
    })
}

/// The changes of `sled.toml`.
fn settings<'a>(old: &'a Configuration, new: &'a Configuration) -> impl Iterator<Item = Change> + 'a {
    const AT_START: &str = "at each region's next start: sledctl downstairs upgrade, or region restart --all --rolling";
    let mut all = Vec::new();
    let mut differs = |key: &str, from: &dyn Display, to: &dyn Display, effect: &str| {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            all.push(change("sled.toml".into(), format!("{key}: {from} -> {to}"), effect));
        }
    };
    let (a, b) = (&old.sled.downstairs, &new.sled.downstairs);
    let never = |span: &Option<crate::span::Span>| span.map_or_else(|| "never".into(), |span| span.to_string());
    let rate = |bytes: u64| format!("{}/s", size::spoken(bytes));
    differs("downstairs.program", &a.program.display(), &b.program.display(), AT_START);
    differs("downstairs.user", &a.user, &b.user, AT_START);
    differs("downstairs.hung_after", &a.hung_after, &b.hung_after, AT_ONCE);
    differs("downstairs.restart_hung_after", &never(&a.restart_hung_after), &never(&b.restart_hung_after), AT_ONCE);
    differs("downstairs.crashes", &a.crashes, &b.crashes, AT_ONCE);
    differs("downstairs.crashes_within", &a.crashes_within, &b.crashes_within, AT_ONCE);
    differs("downstairs.steady_after", &a.steady_after, &b.steady_after, AT_ONCE);
    let (a, b) = (&old.sled.storage, &new.sled.storage);
    differs("storage.keep_deleted", &a.keep_deleted, &b.keep_deleted, AT_ONCE);
    let (a, b) = (&old.sled.events, &new.sled.events);
    differs("events.size", &a.size, &b.size, AT_ONCE);
    differs("events.age", &a.age, &b.age, AT_ONCE);
    let (a, b) = (&old.sled.scrub, &new.sled.scrub);
    differs("scrub.schedule", &a.schedule, &b.schedule, AT_ONCE);
    differs("scrub.rate", &rate(a.rate), &rate(b.rate), "at the next scrub");
    differs("scrub.outdated_after", &never(&a.outdated_after), &never(&b.outdated_after), AT_ONCE);
    differs("scrub.repair", &a.repair, &b.repair, AT_ONCE);
    all.extend(network(&old.sled.network, &new.sled.network));
    let (a, b) = (&old.sled.appliance, &new.sled.appliance);
    if (a.prefix, a.gateway, &a.dns, &a.ntp) != (b.prefix, b.gateway, &b.dns, &b.ntp) {
        all.push(change("sled.toml".into(), "the network of appliance is another".into(), ON_TRIAL));
    }
    if a.serial != b.serial {
        all.push(change("sled.toml".into(), "appliance.serial is another".into(), AT_BOOT));
    }
    if old.sled.notify != new.sled.notify {
        // Its URLs may let in whoever knows them.
        all.push(change("sled.toml".into(), "notify is another".into(), AT_ONCE));
    }
    if (old.sled.storage.reserve, old.sled.storage.provisioning)
        != (new.sled.storage.reserve, new.sled.storage.provisioning)
    {
        all.push(change("sled.toml".into(), "storage.reserve or provisioning is another".into(), AT_ONCE));
    }
    fixed(old, new).chain(all)
}

/// The changes of `[network]`.
fn network(a: &Network, b: &Network) -> Vec<Change> {
    let changed = |key: &str, from: String, to: String, effect: &str| {
        (from != to).then(|| change("sled.toml".into(), format!("network.{key}: {from} -> {to}"), effect))
    };
    let spare = |spare: &Option<Nic>| spare.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let none = |value: Option<Vlan>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let all = [
        changed("bridge", a.bridge.clone(), b.bridge.clone(), ON_TRIAL),
        changed("nic", a.nic.to_string(), b.nic.to_string(), ON_TRIAL),
        changed("spare", spare(&a.spare), spare(&b.spare), ON_TRIAL),
        changed("vlan", none(a.vlan), none(b.vlan), ON_TRIAL),
        changed("address", a.address.to_string(), b.address.to_string(), ON_TRIAL),
        changed("min_link_mbps", a.min_link_mbps.to_string(), b.min_link_mbps.to_string(), AT_ONCE),
        changed("min_usb_mbps", a.min_usb_mbps.to_string(), b.min_usb_mbps.to_string(), AT_ONCE),
        changed("rejoin", a.rejoin.to_string(), b.rejoin.to_string(), AT_ONCE),
    ];
    all.into_iter().flatten().collect()
}

/// The changes of `[tls]`. A region that runs goes on with the files that it was started with; only one that is to
/// speak TLS, or to speak it no more, is of no use to its hosts as it is.
fn tls(old: &Configuration, new: &Configuration, facts: &Facts) -> Vec<Change> {
    const AT_START: &str = "at each region's next start: sledctl region restart --all --rolling";
    let one = |what: &str, effect: &str| change("sled.toml".into(), what.into(), effect);
    match (&old.sled.tls, &new.sled.tls) {
        (None, None) => Vec::new(),
        (Some(from), Some(to)) => {
            let files = (!from.same_files(to)).then(|| one("the files of tls are others", AT_START));
            let (from, to) = (from.expires_warning, to.expires_warning);
            let warning = (from != to).then(|| one(&format!("tls.expires_warning: {from} -> {to}"), AT_ONCE));
            files.into_iter().chain(warning).collect()
        }
        (_, to) => {
            let what = if to.is_some() { "tls is switched on" } else { "tls is switched off" };
            let anew = started_anew(old, new, facts).into_iter().filter(|local| runs(facts, &local.name));
            let anew: Vec<_> = anew.map(|local| local.name).collect();
            let interrupts = anew.iter().any(|name| serves_somebody(old, facts, name));
            let list = anew.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let effect = match (anew.is_empty(), to) {
                (true, Some(_)) => "no region is restarted: none runs that was started without it".to_owned(),
                (true, None) => "no region is restarted: none runs that was started with it".to_owned(),
                (false, _) => format!("these are restarted, one at a time, and their hosts must do the same: {list}"),
            };
            vec![Change { interrupts, ..one(what, &effect) }]
        }
    }
}

/// The deleted regions that are kept, and go earlier than they were to: each by its name, since nobody can have it
/// back afterwards.
fn destroyed(old: &Configuration, new: &Configuration, facts: &Facts) -> Vec<Change> {
    let (from, to) = (old.sled.storage.keep_deleted, new.sled.storage.keep_deleted);
    let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
    let stones = ledger.into_iter().flat_map(|ledger| &ledger.tombstones).filter(|stone| !stone.removing && to < from);
    let one = |stone: &Tombstone| {
        let what = format!("was deleted at {}, and is kept for {from}", stone.deleted);
        let effect = format!("it is destroyed for good {to} after its deletion; to have it: sledctl region restore");
        Change { needs_yes: true, ..change(format!("deleted region {}", stone.dir()), what, effect) }
    };
    stones.map(one).collect()
}

/// Whether a region's downstairs runs.
fn runs(facts: &Facts, name: &RegionName) -> bool {
    facts.regions.get(name).is_some_and(|region| region.runs())
}

/// Whether a host is connected to a region.
fn serves_somebody(config: &Configuration, facts: &Facts, name: &RegionName) -> bool {
    let sockets = facts.regions.get(name).and_then(|region| region.sockets.as_ref());
    sockets.is_some_and(|sockets| sockets.connected.iter().any(|peer| !super::attach::is_fleet(config, peer.address)))
}

/// The fence of a volume's regions that is to be.
fn fence(new: &Configuration, facts: &Facts, volume: &VolumeName) -> Fence {
    Fence::around(&new.map, volume, facts.grants.as_ref().and_then(|all| all.get(volume)))
}

/// The fleet's sleds: they are let in everywhere, for repair. One that is none any more is a host like others, and
/// cut off as such.
fn sleds<'a>(old: &'a Configuration, new: &'a Configuration, facts: &'a Facts) -> impl Iterator<Item = Change> + 'a {
    let cut = |address: IpAddr| {
        facts.regions.iter().any(|(name, region)| {
            let mut peers = region.sockets.iter().flat_map(|sockets| &sockets.connected);
            peers.any(|peer| peer.address == address) && !fence(new, facts, name.volume()).admits(address)
        })
    };
    let names: BTreeSet<_> = old.map.sleds.keys().chain(new.map.sleds.keys()).collect();
    names.into_iter().filter_map(move |name| {
        let at = |config: &Configuration| config.map.sleds.get(name).map(|sled| sled.address);
        let (what, effect) = match (at(old), at(new)) {
            (None, Some(address)) => (format!("is new, at {address}"), "it is let in for repair at once"),
            (Some(address), None) => (format!("is no sled any more, at {address}"), "it is cut off at once"),
            (Some(from), Some(to)) if from != to => {
                (format!("address: {from} -> {to}"), "the new one is let in at once, and the old one cut off")
            }
            _ => return None,
        };
        let interrupts = at(old).filter(|from| at(new) != Some(*from)).is_some_and(cut);
        Some(Change { interrupts, ..change(format!("sled {name}"), what, effect) })
    })
}

/// The regions of a volume on this sled.
fn regions(old: &Configuration, new: &Configuration, facts: &Facts, volume: &VolumeName) -> Vec<Change> {
    let here = |config: &Configuration| -> BTreeMap<RegionName, LocalRegion> {
        let all = config.local_regions().into_iter().filter(|local| local.name.volume() == volume);
        all.map(|local| (local.name.clone(), local)).collect()
    };
    let (before, after) = (here(old), here(new));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let one = |name: &RegionName| {
        let subject = format!("region {name}");
        let interrupts = serves_somebody(old, facts, name);
        match (before.get(name), after.get(name)) {
            (None, Some(local)) => {
                let effect = format!("sledctl region create {name}, unless it is there: then it is started");
                vec![change(subject, format!("is new here, at port {}", local.port), effect)]
            }
            (Some(local), None) => {
                let what = format!("is not on this sled any more, at port {}", local.port);
                let effect = "it is stopped; its data stays, until sledctl region delete";
                vec![Change { interrupts, needs_yes: runs(facts, name), ..change(subject, what, effect) }]
            }
            (Some(from), Some(to)) => stays(subject, from, to, interrupts),
            (None, None) => Vec::new(),
        }
    };
    names.into_iter().flat_map(one).collect()
}

fn stays(subject: String, from: &LocalRegion, to: &LocalRegion, interrupts: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    if from.port != to.port {
        let what = format!("port: {} -> {}", from.port, to.port);
        let effect = "it is restarted there, one region at a time; hosts must be told the new port";
        changes.push(Change { interrupts, ..change(subject.clone(), what, effect) });
    }
    if from.geometry != to.geometry {
        let effect = "a region that was made stays as it was made, and does not fit the map";
        changes.push(change(subject, "its size or block size is another".into(), effect));
    }
    changes
}

/// The hosts that may attach a volume of which there are regions here, before and after.
fn hosts(old: &Configuration, new: &Configuration, facts: &Facts, volume: &VolumeName) -> Vec<Change> {
    let (Some(before), Some(after)) = (old.map.volumes.get(volume), new.map.volumes.get(volume)) else {
        return Vec::new();
    };
    if !new.local_regions().iter().any(|local| local.name.volume() == volume) {
        return Vec::new();
    }
    let set = |hosts: &[IpAddr]| hosts.iter().copied().collect::<BTreeSet<_>>();
    let (before, after) = (set(&before.hosts), set(&after.hosts));
    if before == after {
        return Vec::new();
    }
    let spoken = |set: &BTreeSet<IpAddr>| {
        if set.is_empty() {
            "anyone".to_owned()
        } else {
            set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    };
    let fence = fence(new, facts, volume);
    let cut: BTreeSet<_> = facts.visitors(old, volume).into_keys().filter(|host| !fence.admits(*host)).collect();
    let effect = if cut.is_empty() {
        "at once; nobody who is connected is cut off".to_owned()
    } else {
        format!("at once; cut off: {}", spoken(&cut))
    };
    let what = format!("hosts: {} -> {}", spoken(&before), spoken(&after));
    vec![Change { interrupts: !cut.is_empty(), ..change(format!("volume {volume}"), what, effect) }]
}
