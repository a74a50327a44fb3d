//! Strangers at a volume's ports: somebody is there, or tried to be, whom it does not let in; or it is not known whom
//! it does.

use super::facts::{Facts, TurnedAway};
use super::finding::Finding;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The findings about records of tickets that cannot be read: whom a volume lets in is not known.
pub(super) fn unread(facts: &Facts) -> Vec<Finding> {
    let volume = |(volume, why): (&VolumeName, &String)| {
        let cause = format!("who holds its last ticket cannot be read: {why}");
        let remedy =
            format!("say which host may have it: sledctl volume allow {volume} HOST; and see dmesg for the disk");
        Finding::about_volume(volume, Code::TicketsUnreadable, cause, remedy)
    };
    let all = facts.disk.as_ref().filter(|disk| disk.mounted).and_then(|disk| disk.grants.as_ref().err());
    let all = all.filter(|_| facts.grants.is_none()).map(|why| {
        let cause = format!("who holds the last tickets cannot be read: {why}");
        let remedy = "see dmesg for the disk; it is tried again all the time";
        Finding::new(Code::TicketsUnreadable, "disk", cause, remedy)
    });
    facts.unread_grants.iter().map(volume).chain(all).chain(damaged(facts)).collect()
}

/// The findings about records of tickets that are not as they were written, while it is known what
/// they said.
fn damaged(facts: &Facts) -> impl Iterator<Item = Finding> {
    facts.damaged_grants.iter().map(|(volume, why)| {
        let cause = format!("the record of who holds its last ticket is not as it was written: {why}");
        Finding::about_volume(volume, Code::TicketsDamaged, cause, Code::TicketsDamaged.remedy())
    })
}

/// The findings about those that the map does not let in.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let volumes: BTreeSet<_> = facts.regions.keys().map(|name| name.volume().clone()).collect();
    volumes.iter().filter_map(|volume| foreign(config, facts, volume)).collect()
}

fn foreign(config: &Configuration, facts: &Facts, volume: &VolumeName) -> Option<Finding> {
    let fence = facts.fence(config, volume)?;
    let visitors = facts.visitors(config, volume);
    let strangers = visitors.iter().filter(|(address, _)| !fence.admits(**address));
    let present = strangers.map(|(address, regions)| present(config, *address, regions));
    let tried =
        facts.turned_away.get(volume).map(|turned_away| tried(config, turned_away)).filter(|text| !text.is_empty());
    let causes: Vec<_> = present.chain(tried).collect();
    if causes.is_empty() {
        return None;
    }
    let hosts = &config.map.volumes.get(volume)?.hosts;
    let remedy = if hosts.is_empty() {
        format!("if it may: sledctl volume allow {volume} ADDRESS; if it is no host of yours, find out what it is")
    } else {
        format!(
            "if it may: add it to hosts of [volumes.{volume}] in port-map.toml, or after a takeover: sledctl volume \
             allow {volume} ADDRESS; otherwise find out what it is"
        )
    };
    Some(Finding::about_volume(volume, Code::ClientForeign, causes.join("; "), remedy))
}

fn spoken(config: &Configuration, address: IpAddr) -> String {
    let name = config.map.name_of(address).map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{address}{name}")
}

fn present(config: &Configuration, address: IpAddr, regions: &BTreeSet<RegionName>) -> String {
    let regions = regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{} is connected to {regions}, and may not be", spoken(config, address))
}

/// The words have no numbers that grow: the text is part of what hosts wait to see changed.
fn tried(config: &Configuration, turned_away: &TurnedAway) -> String {
    let asked: Vec<_> = turned_away.asked.iter().map(|address| spoken(config, *address)).collect();
    let asked = (!asked.is_empty()).then(|| format!("{} asked for a ticket, and may not have one", asked.join(", ")));
    let dropped = turned_away.dropped.then(|| {
        "packets to its ports from addresses that it does not let in were dropped within the last five minutes"
            .to_owned()
    });
    asked.into_iter().chain(dropped).collect::<Vec<_>>().join("; ")
}
