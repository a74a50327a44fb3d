//! `sled.toml` of one machine: which sled it is, where its data lies, and what its network must be.

use super::appliance::{self, Appliance};
use super::events::{self, Events};
use super::listen;
use super::network::{self, Network};
use super::notify::{self, Notify};
use super::scrub::{self, Scrub};
use super::tls::{self, Tls};
use super::update::{self, Update};
use super::values::{Days, OrNever, Positive, Reserve, USER, plain_path, word};
use crate::names::SledName;
use crate::source::{Document, Faults, Origin, Section};
use crate::span::Span;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// `sled.toml`, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SledConfig {
    /// The sled of the port map that this machine is.
    pub name: SledName,
    /// The storage of the regions.
    pub storage: Storage,
    /// The downstairs that serve them.
    pub downstairs: Downstairs,
    /// The network as it must be.
    pub network: Network,
    /// The certificate with which the data ports speak TLS; `None`: they do not.
    pub tls: Option<Tls>,
    /// Who is told of checks; `None`: nobody is.
    pub notify: Option<Notify>,
    /// The record of what happened.
    pub events: Events,
    /// The scrubs of the regions.
    pub scrub: Scrub,
    /// The updates of the image.
    pub update: Update,
    /// The appliance that the image makes of the machine.
    pub appliance: Appliance,
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The directory that holds every region, absolute.
    pub root: PathBuf,
    /// Whether the root must be a mount point of its own before anything is done in it.
    pub require_mount: bool,
    /// Whether a region's blocks are reserved when it is created.
    pub provisioning: Provisioning,
    /// The part of the file system that is kept free.
    pub reserve: Reserve,
    /// The time that a deleted region is kept.
    pub keep_deleted: Span,
    /// The extents that are held to their checksums before a region serves, when the machine ended without a shutdown.
    pub verify_after_crash: VerifyAfterCrash,
}

/// The extents that are verified when the machine ended without a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyAfterCrash {
    /// Those whose files changed in the minute before the last sign of life, or since.
    Recent,
    /// Every one that was left clean.
    All,
    /// None.
    Off,
}

impl FromStr for VerifyAfterCrash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "recent" => Ok(Self::Recent),
            "all" => Ok(Self::All),
            "off" => Ok(Self::Off),
            _ => Err("is neither recent, all nor off"),
        }
    }
}

/// Whether a region's blocks are reserved when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioning {
    /// Every block is reserved: the disk cannot fill up under a host.
    Thick,
    /// Blocks are taken as they are written: regions may promise more than the disk has.
    Thin,
}

impl FromStr for Provisioning {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "thick" => Ok(Self::Thick),
            "thin" => Ok(Self::Thin),
            _ => Err("is neither thick nor thin"),
        }
    }
}

/// `[downstairs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downstairs {
    /// The path of the program, absolute.
    pub program: PathBuf,
    /// The user that it runs as.
    pub user: String,
    /// The time for which one that listens may leave a question unanswered before it is hung.
    pub hung_after: Span,
    /// The time for which one is left hung before it is restarted; `None`: for ever.
    pub restart_hung_after: Option<Span>,
    /// The ends within [`Downstairs::crashes_within`] that are a crash loop: then it is held.
    pub crashes: u32,
    /// The time in which crashes are counted.
    pub crashes_within: Span,
    /// The time after which one that has served is well: its restarts are forgiven, and an upgrade goes on.
    pub steady_after: Span,
}

/// The part of `sled.toml` that could be read, with the places that later checks point at.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Option<(SledName, Origin)>,
    storage: Storage,
    downstairs: Downstairs,
    pub(super) network: network::Draft,
    tls: Option<Tls>,
    notify: Option<Notify>,
    events: Events,
    scrub: Scrub,
    update: Update,
    pub(super) appliance: appliance::Draft,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) names: Vec<String>,
}

impl Draft {
    /// The configuration, if nothing that is required is missing.
    pub(super) fn complete(&self) -> Option<SledConfig> {
        Some(SledConfig {
            name: self.name.clone()?.0,
            storage: self.storage.clone(),
            downstairs: self.downstairs.clone(),
            network: self.network.network.clone()?,
            tls: self.tls.clone(),
            notify: self.notify.clone(),
            events: self.events,
            scrub: self.scrub,
            update: self.update,
            appliance: self.appliance.appliance.clone(),
        })
    }
}

/// Read the merged files.
pub(super) fn read(document: &Document, faults: &mut Faults) -> Draft {
    let mut top = Section::top(document);
    let name = sled_name(top.section("sled", faults), faults);
    let storage = storage(top.section("storage", faults), faults);
    let downstairs = downstairs(top.section("downstairs", faults), faults);
    let network = network::read(top.section("network", faults), faults);
    let (listen, names) = listen::read(top.section("http", faults), faults);
    let tls = tls::read(top.section("tls", faults), faults);
    let notify = notify::read(top.section("notify", faults), faults);
    let events = events::read(top.section("events", faults), faults);
    let scrub = scrub::read(top.section("scrub", faults), faults);
    let update = update::read(top.section("update", faults), faults);
    let appliance = appliance::read(top.section("appliance", faults), faults);
    top.finish(faults);
    Draft { name, storage, downstairs, network, tls, notify, events, scrub, update, appliance, listen, names }
}

fn sled_name(mut section: Section<'_>, faults: &mut Faults) -> Option<(SledName, Origin)> {
    const REMEDY: &str = "write the name that the port map gives this machine, for example \"proper-raptor\"";
    let given = section.keys().contains(&"name");
    let name = section.parsed("name", REMEDY, faults);
    if !given {
        section.missing("name", REMEDY, faults);
    }
    section.finish(faults);
    name
}

fn storage(mut section: Section<'_>, faults: &mut Faults) -> Storage {
    let storage = Storage {
        root: path(&mut section, "root", "/crucible", faults),
        require_mount: section.boolean("require_mount", faults).unwrap_or(true),
        provisioning: section
            .parsed("provisioning", "write \"thick\" or \"thin\"", faults)
            .map_or(Provisioning::Thick, |(value, _)| value),
        reserve: section
            .parsed("reserve", "write a share such as \"5%\" or a size such as \"20GiB\"", faults)
            .map_or(Reserve::Percent(5), |(value, _)| value),
        keep_deleted: section
            .parsed("keep_deleted", "write a time in days or hours, such as \"7d\" or \"12h\"", faults)
            .map_or(Span::seconds(7 * 86_400), |(Days(span), _)| span),
        verify_after_crash: section
            .parsed("verify_after_crash", "write \"recent\", \"all\" or \"off\"", faults)
            .map_or(VerifyAfterCrash::Recent, |(value, _)| value),
    };
    section.finish(faults);
    storage
}

fn downstairs(mut section: Section<'_>, faults: &mut Faults) -> Downstairs {
    let program = path(&mut section, "program", "/usr/lib/crucible/crucible-downstairs", faults);
    let user = word(&mut section, "user", USER, faults).map_or_else(|| "crucible".into(), |(user, _)| user);
    let crashes = section.integer("crashes", 2..=1_000_000, faults);
    let restart_hung_after = section
        .parsed::<OrNever>("restart_hung_after", "write \"never\" or a length of time such as \"5m\"", faults)
        .and_then(|(OrNever(span), _)| span);
    let mut span = |key, example: &str| {
        let remedy = format!("write a length of time such as \"{example}\", at least \"1s\"");
        section.parsed::<Positive>(key, &remedy, faults).map(|(Positive(span), _)| span)
    };
    let downstairs = Downstairs {
        program,
        user,
        hung_after: span("hung_after", "5s").unwrap_or(Span::seconds(5)),
        restart_hung_after,
        crashes: crashes.and_then(|(n, _)| n.try_into().ok()).unwrap_or(5),
        crashes_within: span("crashes_within", "2m").unwrap_or(Span::seconds(120)),
        steady_after: span("steady_after", "1m").unwrap_or(Span::seconds(60)),
    };
    section.finish(faults);
    downstairs
}

fn path(section: &mut Section<'_>, key: &str, default: &str, faults: &mut Faults) -> PathBuf {
    plain_path(section, key, default, faults).map_or_else(|| default.into(), |(path, _)| path)
}
