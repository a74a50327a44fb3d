//! Page at `/`: what a sled says of itself, for a person on a phone at night. One document of HTML, made from what
//! was published and from nothing else, so that the same bulletin has the same page; it refers to no other file,
//! and says everything without its script, which only keeps it up to date. Pure.
//!
//! | module | job |
//! |---|---|
//! | [`document`] | the frame of every page: its head, its style, its script, and the policy for them |
//! | [`headline`] | the one sentence: what is wrong, where, and since when |
//! | [`way`] | the way from the cable to the address |
//! | [`disk`] | what takes the data disk |
//! | [`map`] | volumes, with their regions and hosts |
//! | [`day`] | the last 24 hours of a region, as a bar |
//! | [`checks`] | conditions that hold, and the explanation of all |
//! | [`events`] | what happened last |
//! | [`jobs`] | long work |
//! | [`tone`] | how well something is: a word, a shape and a colour |
//! | [`parts`] | times, codes and links |
//!
//! All text passes through `maud`, which escapes it, and the whole document through [`clean`](crate::clean), which
//! writes out what moves or hides.

mod checks;
mod day;
mod disk;
mod document;
mod events;
mod headline;
mod jobs;
mod map;
mod parts;
#[cfg(test)]
mod tests;
mod tone;
mod way;

pub use checks::explanations;
pub use document::POLICY;

use crate::names::{RegionName, SledName, VolumeName};
use crate::wire::{self, Day, Event, Job, Sled, StorageDetail};
use document::{Document, Footer};
use headline::Headline;
use maud::html;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tone::Tone;

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct View {
    /// The sled, as `GET /v1/sled` has it.
    pub sled: Arc<Sled>,
    /// Its data disk, as `GET /v1/storage` has it.
    pub storage: Arc<StorageDetail>,
    /// The jobs that are remembered, by number.
    pub jobs: Arc<BTreeMap<u64, Job>>,
    /// Volumes of the map without a region here, with the sleds that carry them.
    pub elsewhere: BTreeMap<VolumeName, Vec<SledName>>,
    /// The sleds of the map, by their addresses.
    pub sleds: BTreeMap<SledName, IpAddr>,
    /// The names of hosts and sleds, by address.
    pub names: BTreeMap<IpAddr, String>,
    /// The number of the configuration in force, if it is on record.
    pub configuration: Option<u64>,
    /// The last 24 hours of each region on this sled.
    pub days: Arc<BTreeMap<RegionName, Day>>,
    /// The last events, the oldest first.
    pub events: Arc<[Event]>,
}

/// Render the page of a sled.
pub fn sled(view: &View) -> String {
    let sled = &*view.sled;
    let headline = Headline::of(sled);
    let main = html! {
        (headline.render(sled))
        div.pair {
            (way::render(sled))
            (disk::render(&view.storage))
        }
        (map::render(view))
        (checks::render(&sled.checks))
        (events::render(&view.events))
        (jobs::render(&view.jobs))
    };
    let footer = Footer { sled: Some(sled), configuration: view.configuration };
    let title = headline.title(sled);
    Document { name: sled.sled.as_str(), tone: headline.tone, title: &title, as_of: Some(sled.as_of), main, footer }
        .render()
}

/// Render the page of a sled whose configuration was refused, before any was in force.
pub fn refused(why: &wire::Error) -> String {
    let main = html! {
        (headline::section(Tone::Bad, "This sled has no configuration that it can be run by.", html! {
            p { "Nothing is supervised until there is one. What runs goes on." }
        }))
        section aria-labelledby="faults" {
            h2 #faults { "Faults" }
            p.cause { (parts::code(why.code.as_str())) " " (why.message) }
            p.remedy { b { "Remedy" } " " (why.remedy) }
        }
    };
    let title = "no configuration";
    Document { name: "sled", tone: Tone::Bad, title, as_of: None, main, footer: Footer::default() }.render()
}

/// Render the page of a sled that has not seen everything yet.
pub fn starting() -> String {
    let main = headline::section(
        Tone::Passing,
        "This sled has just started, and has no verdict yet.",
        html! {
            p { "It looks at its disk, its network and its regions first. That takes some seconds." }
        },
    );
    let title = "starting";
    Document { name: "sled", tone: Tone::Passing, title, as_of: None, main, footer: Footer::default() }.render()
}
