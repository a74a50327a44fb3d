//! Counts of what happens, for longer than a verdict stands: each part of the supervisor that sees something counts it
//! here, by the price of an addition. Series are made for what the map has on this sled, and for nothing else; they
//! begin at zero, so that the first thing that is counted is an increase. Pure.

use super::Labels;
use crate::decide::failure::{Exit, Failure, Kind};
use crate::names::{RegionName, VolumeName};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Times within which a region answers. It is looked for ever more rarely ([`pulse`](crate::observe::pulse)): each of
/// the first ones lies behind one such look.
const PULSE_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Times by which the loop is late.
const LAG_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 2.5, 10.0];
/// Signal that a panic ends with.
const SIGABRT: i32 = 6;

/// Class of an end of a downstairs that nobody has asked for: how it ended, or what has to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The process was killed by a signal.
    Killed,
    /// The process panicked or was aborted.
    Aborted,
    /// The process exited by itself, for a reason that nobody knows.
    Exited,
    /// Another process has the region.
    Locked,
    /// A port is taken.
    Port,
    /// The address is missing.
    Network,
    /// The disk is full, or cannot be written to.
    Space,
    /// The files of `[tls]` cannot be used.
    Tls,
    /// The next start would end the same way.
    Permanent,
    /// The end was over before anybody looked.
    Unseen,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::Killed,
        Self::Aborted,
        Self::Exited,
        Self::Locked,
        Self::Port,
        Self::Network,
        Self::Space,
        Self::Tls,
        Self::Permanent,
        Self::Unseen,
    ];

    /// Find the class of a failure.
    pub fn of(failure: &Failure) -> Self {
        match (failure.kind, failure.exit) {
            (Kind::Transient, Exit::Signal(SIGABRT)) => Self::Aborted,
            (Kind::Transient, Exit::Signal(_)) => Self::Killed,
            (Kind::Transient, Exit::Status(_)) => Self::Exited,
            (Kind::Locked, _) => Self::Locked,
            (Kind::Port, _) => Self::Port,
            (Kind::Network, _) => Self::Network,
            (Kind::Space, _) => Self::Space,
            (Kind::Tls, _) => Self::Tls,
            (Kind::Permanent, _) => Self::Permanent,
        }
    }

    /// Name the class, as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Aborted => "aborted",
            Self::Exited => "exited",
            Self::Locked => "locked",
            Self::Port => "port",
            Self::Network => "network",
            Self::Space => "space",
            Self::Tls => "tls",
            Self::Permanent => "permanent",
            Self::Unseen => "unseen",
        }
    }
}

/// Counts of what happens. Cheap to clone; a clone counts on with the others.
#[derive(Debug, Clone)]
pub struct Counts {
    known: Arc<Mutex<BTreeSet<RegionName>>>,
    restarts: Family<Labels, Counter>,
    pulses: Family<Labels, Histogram, fn() -> Histogram>,
    tickets: Family<Labels, Counter>,
    takeovers: Family<Labels, Counter>,
    rejoins: Counter,
    scrubbed: Counter,
    turns: Counter,
    lag: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            restarts: Family::default(),
            pulses: Family::new_with_constructor(|| Histogram::new(PULSE_BUCKETS)),
            tickets: Family::default(),
            takeovers: Family::default(),
            rejoins: Counter::default(),
            scrubbed: Counter::default(),
            turns: Counter::default(),
            lag: Histogram::new(LAG_BUCKETS),
        }
    }
}

impl Counts {
    /// Count for these regions and their volumes from now on; what was counted of others is forgotten.
    pub fn know(&self, regions: BTreeSet<RegionName>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for name in known.difference(&regions) {
            Class::ALL.into_iter().for_each(|class| _ = self.restarts.remove(&of_class(name, class)));
            self.pulses.remove(&of_region(name));
        }
        for name in regions.difference(&known) {
            Class::ALL.into_iter().for_each(|class| drop(self.restarts.get_or_create(&of_class(name, class))));
            drop(self.pulses.get_or_create(&of_region(name)));
        }
        let volumes = |names: &BTreeSet<RegionName>| -> BTreeSet<VolumeName> {
            names.iter().map(|name| name.volume().clone()).collect()
        };
        let (before, now) = (volumes(&known), volumes(&regions));
        for tickets in [&self.tickets, &self.takeovers] {
            before.difference(&now).for_each(|volume| _ = tickets.remove(&of_volume(volume)));
            now.difference(&before).for_each(|volume| drop(tickets.get_or_create(&of_volume(volume))));
        }
        *known = regions;
    }

    /// Count ends of a region's downstairs.
    pub fn ended(&self, name: &RegionName, class: Class, times: u64) {
        if let Some(restarts) = self.restarts.get(&of_class(name, class)) {
            restarts.inc_by(times);
        }
    }

    /// Count an answer of a region, which took so long.
    pub fn answered(&self, name: &RegionName, took: Duration) {
        if let Some(pulses) = self.pulses.get(&of_region(name)) {
            pulses.observe(took.as_secs_f64());
        }
    }

    /// Count tickets that were granted of a volume, and whether somebody was cut off for them.
    pub fn granted(&self, volume: &VolumeName, tickets: u64, takeover: bool) {
        let labels = of_volume(volume);
        for (counted, more) in [(&self.tickets, tickets), (&self.takeovers, takeover.into())] {
            if let Some(counted) = counted.get(&labels) {
                counted.inc_by(more);
            }
        }
    }

    /// Count an adapter that was put back into its bridge.
    pub fn rejoined(&self) {
        self.rejoins.inc();
    }

    /// Count bytes that scrubs have read.
    pub fn scrubbed(&self, bytes: u64) {
        self.scrubbed.inc_by(bytes);
    }

    /// Count a turn of the loop.
    pub fn turned(&self) {
        self.turns.inc();
    }

    /// Count a beat that the loop has heard so late.
    pub fn late(&self, by: Duration) {
        self.lag.observe(by.as_secs_f64());
    }

    pub(super) fn register(&self, to: &mut Registry) {
        let help =
            "Ends of a region's downstairs that nobody asked for, by class: it was started again, unless it is held";
        to.register("sled_region_restarts", help, self.restarts.clone());
        let help = "Time within which a region's downstairs answered that it is well";
        to.register_with_unit("sled_region_pulse", help, Unit::Seconds, self.pulses.clone());
        to.register("sled_volume_tickets", "Tickets that were granted", self.tickets.clone());
        let help = "Tickets for which another host was cut off, or lost its own";
        to.register("sled_volume_takeovers", help, self.takeovers.clone());
        let help = "Times that a network adapter that was away was put back into its bridge";
        to.register("sled_nic_rejoins", help, self.rejoins.clone());
        let help = "Bytes that were read to hold the regions' blocks to their checksums";
        to.register_with_unit("sled_scrub_read", help, Unit::Bytes, self.scrubbed.clone());
        to.register("sled_loop_turns", "Turns of the supervisor's loop", self.turns.clone());
        let help = "Time by which the supervisor's loop was late for a beat of its rhythm";
        to.register_with_unit("sled_loop_lag", help, Unit::Seconds, self.lag.clone());
    }
}

pub(super) fn of_region(name: &RegionName) -> Labels {
    vec![("region", name.to_string()), ("volume", name.volume().to_string())]
}

fn of_class(name: &RegionName, class: Class) -> Labels {
    let mut labels = of_region(name);
    labels.push(("class", class.as_str().to_owned()));
    labels
}

pub(super) fn of_volume(volume: &VolumeName) -> Labels {
    vec![("volume", volume.to_string())]
}
