//! Map as hosts by regions: a table for each volume, with its regions as columns and what is to be known of each, and
//! a row for each host that may attach it or does.

use super::parts::{at, page_of, since};
use super::tone::Tone;
use super::{View, day};
use crate::size::spoken;
use crate::wire::{Region, Volume};
use maud::{Markup, html};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Draw every volume of the map.
pub(super) fn render(view: &View) -> Markup {
    html! { section aria-labelledby="map" {
        h2 #map { "Volumes" }
        @if view.sled.volumes.is_empty() { p { "The map puts no region on this sled." } }
        div.volumes { @for of in &view.sled.volumes { (volume(view, of)) } }
        @if !view.elsewhere.is_empty() {
            p { "On other sleds: "
                @for (position, (volume, sleds)) in view.elsewhere.iter().enumerate() {
                    @if position > 0 { "; " }
                    b { (volume) } " on "
                    @for (position, sled) in sleds.iter().enumerate() {
                        @if position > 0 { ", " }
                        (page_of(sled.as_str(), view.sleds.get(sled).copied()))
                    }
                }
                "."
            }
        }
    } }
}

fn volume(view: &View, of: &Volume) -> Markup {
    let here = |region: &Region| region.sled == view.sled.sled;
    let id = format!("volume-{}", of.volume);
    html! { section.card aria-labelledby=(id) {
        h3 id=(id) { (of.volume) " " (readiness(of)) }
        p.sum { (facts(view, of)) }
        table {
            caption.hidden { "Regions and hosts of " (of.volume) }
            thead { tr {
                td {}
                @for region in &of.regions {
                    th scope="col" { span.stem { (of.volume) "-" } (region.index) }
                }
            } }
            tbody {
                (row("state", of, |region| html! {
                    @match region.state {
                        Some(state) => (Tone::from(Some(state)).says(state)),
                        None => (Tone::Unknown.says("not known")),
                    }
                }))
                (row("since", of, |region| html! { @if let Some(time) = region.since { (at(time)) } @else { "–" } }))
                (row("24 h", of, |region| html! {
                    @if here(region) {
                        (day::render(view.days.get(&region.name), region, view.sled.as_of))
                    } @else { "–" }
                }))
                (row("where", of, |region| html! {
                    @if here(region) { "here" } @else { (page_of(region.sled.as_str(), Some(region.address))) }
                    span.faint { ":" (region.port) }
                }))
            }
            tbody.hosts {
                @for address in hosts(of) {
                    tr {
                        th scope="row" { (name(view, address)) }
                        @for region in &of.regions { td { (attachment(of, region, address, here(region))) } }
                    }
                }
            }
        }
        @if of.hosts.is_empty() { p.sum { "Any host may attach it." } }
    } }
}

fn row(label: &str, of: &Volume, cell: impl Fn(&Region) -> Markup) -> Markup {
    html! { tr {
        th scope="row" { (label) }
        @for region in &of.regions { td { (cell(region)) } }
    } }
}

fn readiness(of: &Volume) -> Markup {
    let blocking = || of.checks.iter().filter(|check| check.severity == crate::check::Severity::Blocking);
    match of.ready {
        true => Tone::Well.says("ready"),
        false if blocking().count() > 0 && blocking().all(|check| check.code.passes()) => {
            Tone::Passing.says("not ready yet")
        }
        false => Tone::Bad.says("not ready"),
    }
}

/// What is to be known of a volume beside its regions.
fn facts(view: &View, of: &Volume) -> Markup {
    html! {
        (spoken(of.size_bytes)) ", "
        @match of.fault_tolerance {
            0 => "no sled may fail",
            1 => "any one sled may fail",
            more => { "any " (more) " sleds may fail" },
        }
        @match of.holder.as_ref().filter(|holder| !holder.released) {
            Some(holder) => { ", held by " (name(view, holder.address)) " since " (since(holder.since)) },
            None => ", held by nobody",
        }
        @if of.drain.is_some() { ", being drained" }
        "."
    }
}

/// Hosts that have to do with a volume: that may attach it, hold it, are connected to it, or were cut off.
fn hosts(of: &Volume) -> BTreeSet<IpAddr> {
    let holder = of.holder.iter().map(|holder| holder.address);
    let attached = of.attached.iter().map(|attached| attached.address);
    of.hosts.iter().copied().chain(holder).chain(attached).chain(of.denied.iter().copied()).collect()
}

/// A host by its name, or by its address if it has none.
fn name(view: &View, address: IpAddr) -> Markup {
    html! {
        @match view.names.get(&address) {
            Some(name) => { span title=(address) { (name) } },
            None => (address),
        }
    }
}

/// Say what a host has of a region.
fn attachment(of: &Volume, region: &Region, host: IpAddr, here: bool) -> Markup {
    if !here {
        return html! { span.faint { "not known" } };
    }
    let connected = region.connected.iter().any(|peer| peer.address == host);
    let denied = of.denied.contains(&host);
    match (connected, denied) {
        (true, false) => html! { span.link { "attached" } },
        (true, true) => Tone::Warning.says("attached, cut off"),
        (false, true) => html! { span.faint { "cut off" } },
        (false, false) => html! { span.faint { "not attached" } },
    }
}
