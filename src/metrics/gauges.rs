//! Table of what a verdict says as metrics: a row is a name, a unit, what it is, and how it is had of a verdict. What is
//! not known has no series. Pure.

use super::counts::{of_region, of_volume};
use super::{Labels, Material};
use crate::clean;
use crate::wire::{JobState, Network, Region, State, Volume};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, GaugeValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Bytes a second of a megabit a second.
const MEGABIT: u64 = 1_000_000 / 8;

/// What the kernel says of the supervisor's own process when a page is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Memory that it has, in bytes.
    pub resident_bytes: Option<u64>,
    /// Time at which it began, in seconds since 1970.
    pub started: Option<u64>,
}

/// Value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Whole(u64),
    Time(Timestamp),
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> fmt::Result {
        match self {
            Self::Whole(number) => number.encode(encoder),
            Self::Time(at) => (at.as_millisecond() as f64 / 1000.0).encode(encoder),
        }
    }
}

/// A series: its labels and its value.
type Sample = (Labels, Value);

/// Row of the table.
struct Row {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    kind: MetricType,
    of: fn(&Verdict) -> Vec<Sample>,
}

/// Verdict that is rendered, and the process that does so.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) material: Arc<Material>,
    pub(super) process: Process,
}

const fn row(name: &'static str, unit: Option<Unit>, help: &'static str, of: fn(&Verdict) -> Vec<Sample>) -> Row {
    Row { name, unit, help, kind: MetricType::Gauge, of }
}

/// Facts in words, as labels of a series that is always 1.
const fn info(name: &'static str, help: &'static str, of: fn(&Verdict) -> Vec<Sample>) -> Row {
    Row { name, unit: None, help, kind: MetricType::Info, of }
}

static ROWS: &[Row] = &[
    info("sled_build", "Version of the supervisor.", |seen| one(vec![("version", seen.sled().version.clone())], 1)),
    info("sled_port_map", "Digest of the port map in force: the same on every sled.", |seen| {
        one(vec![("digest", seen.sled().port_map.clone())], 1)
    }),
    row("sled_verdict_timestamp", Some(Unit::Seconds), "Time of the verdict that this is of.", |seen| {
        vec![(vec![], Value::Time(seen.sled().as_of))]
    }),
    row("sled_well", None, "Whether no blocking condition holds.", |seen| one(vec![], seen.sled().well.into())),
    row("sled_maintenance", None, "Whether hosts are asked to wait.", |seen| {
        one(vec![], seen.sled().maintenance.is_some().into())
    }),
    row("sled_check", None, "A condition that holds: always 1. sledctl explain CODE says what it means.", |seen| {
        seen.checks(|_| Value::Whole(1))
    }),
    row("sled_check_since_timestamp", Some(Unit::Seconds), "Time since when a condition holds.", |seen| {
        seen.checks(|check| Value::Time(check.since))
    }),
    row("sled_volume_ready", None, "Whether a host may attach the volume now.", |seen| {
        seen.volumes(|volume| volume.ready.into())
    }),
    row("sled_volume_fault_tolerance", None, "Sleds that may die, whichever they are, without losing data.", |seen| {
        seen.volumes(|volume| volume.fault_tolerance as u64)
    }),
    row("sled_volume_attached_hosts", None, "Hosts that are connected to the volume's regions here.", |seen| {
        seen.volumes(|volume| volume.attached.len() as u64)
    }),
    row("sled_region_state", None, "State of a region: 1 for the one that it is in, 0 for the others.", states),
    row("sled_region_since_timestamp", Some(Unit::Seconds), "Time since when a region is in its state.", |seen| {
        let since = |region: &Region| Some((of_region(&region.name), Value::Time(region.since?)));
        seen.regions().filter_map(since).collect()
    }),
    row("sled_region_scrub_completed_timestamp", Some(Unit::Seconds), "Time of a region's last whole scrub.", |seen| {
        let of = |region: &Region| Some((of_region(&region.name), Value::Time(region.scrub.as_ref()?.completed?)));
        seen.regions().filter_map(of).collect()
    }),
    row(
        "sled_region_rotten_blocks",
        None,
        "Blocks that its scrubs found not to be what their checksums say.",
        |seen| seen.scrubs(|scrub| scrub.rotten),
    ),
    row("sled_region_unreadable_places", None, "Places that its scrubs could not read.", |seen| {
        seen.scrubs(|scrub| scrub.unreadable)
    }),
    row("sled_storage_mounted", None, "Whether a file system of its own is mounted at the storage root.", |seen| {
        one(vec![], seen.sled().storage.mounted.into())
    }),
    row("sled_storage_capacity", Some(Unit::Bytes), "Capacity of the data disk.", |seen| {
        seen.storage(seen.sled().storage.capacity_bytes)
    }),
    row("sled_storage_free", Some(Unit::Bytes), "Bytes of the data disk that are free.", |seen| {
        seen.storage(seen.sled().storage.free_bytes)
    }),
    row("sled_storage_promised", Some(Unit::Bytes), "Bytes that the regions on record may take in all.", |seen| {
        seen.storage(seen.sled().storage.promised_bytes)
    }),
    row("sled_storage_used", Some(Unit::Bytes), "Bytes that the regions and what was deleted take now.", |seen| {
        seen.storage(seen.sled().storage.used_bytes)
    }),
    row(
        "sled_storage_reserve",
        Some(Unit::Bytes),
        "Bytes that are to be kept free: below them it is DISK_LOW.",
        |seen| seen.storage(seen.material.reserve_bytes),
    ),
    row(
        "sled_nic_carrier",
        None,
        "Whether the configured network interface has a link; 0 if it is not there.",
        |seen| one(seen.nic(), (seen.network().carrier == Some(true)).into()),
    ),
    row("sled_nic_link_bytes_per_second", None, "Speed that its link has negotiated.", |seen| {
        speed(seen.nic(), seen.network().link_mbps)
    }),
    row("sled_nic_usb_bytes_per_second", None, "Speed of the USB port that it hangs on, if it does.", |seen| {
        speed(seen.nic(), seen.network().usb_mbps)
    }),
    row("sled_bridge_present", None, "Whether the configured bridge is there.", |seen| {
        one(seen.bridge(), seen.network().addresses.is_some().into())
    }),
    row("sled_bridge_has_address", None, "Whether it has the sled's address.", |seen| {
        let addresses = seen.network().addresses.iter().flatten();
        one(seen.bridge(), addresses.into_iter().any(|address| *address == seen.sled().address).into())
    }),
    row("sled_jobs", None, "Jobs that are remembered, by what they do and how far they are.", jobs),
    row("process_resident_memory", Some(Unit::Bytes), "Resident memory of the supervisor.", |seen| {
        seen.process.resident_bytes.map(|bytes| (vec![], Value::Whole(bytes))).into_iter().collect()
    }),
    row("process_start_time", Some(Unit::Seconds), "Time at which the supervisor began, since 1970.", |seen| {
        seen.process.started.map(|seconds| (vec![], Value::Whole(seconds))).into_iter().collect()
    }),
];

impl Verdict {
    fn sled(&self) -> &crate::wire::Sled {
        &self.material.sled
    }

    fn network(&self) -> &Network {
        &self.sled().network
    }

    fn nic(&self) -> Labels {
        vec![("nic", self.network().nic.clone())]
    }

    fn bridge(&self) -> Labels {
        vec![("bridge", self.network().bridge.clone())]
    }

    /// The regions that are on this sled.
    fn regions(&self) -> impl Iterator<Item = &Region> {
        self.sled().volumes.iter().flat_map(|volume| &volume.regions).filter(|region| region.state.is_some())
    }

    fn volumes(&self, value: impl Fn(&Volume) -> u64) -> Vec<Sample> {
        self.sled().volumes.iter().map(|volume| (of_volume(&volume.volume), Value::Whole(value(volume)))).collect()
    }

    /// The regions that were ever scrubbed.
    fn scrubs(&self, value: impl Fn(&crate::wire::Scrub) -> u64) -> Vec<Sample> {
        let of = |region: &Region| Some((of_region(&region.name), Value::Whole(value(region.scrub.as_ref()?))));
        self.regions().filter_map(of).collect()
    }

    fn checks(&self, value: impl Fn(&crate::wire::Check) -> Value) -> Vec<Sample> {
        let one = |check: &crate::wire::Check| {
            let labels = vec![
                ("code", check.code.to_string()),
                ("severity", check.severity.to_string()),
                ("subject", check.subject.clone()),
            ];
            (labels, value(check))
        };
        self.sled().checks.iter().map(one).collect()
    }

    /// What is known of the data disk, as long as it is there.
    fn storage(&self, bytes: u64) -> Vec<Sample> {
        if self.sled().storage.mounted { one(vec![], bytes) } else { Vec::new() }
    }
}

fn one(labels: Labels, value: u64) -> Vec<Sample> {
    vec![(labels, Value::Whole(value))]
}

fn speed(labels: Labels, megabits: Option<u32>) -> Vec<Sample> {
    megabits.map(|speed| (labels, Value::Whole(u64::from(speed) * MEGABIT))).into_iter().collect()
}

fn states(seen: &Verdict) -> Vec<Sample> {
    let one = |region: &Region, state: State| {
        let mut labels = of_region(&region.name);
        labels.push(("state", state.as_str().to_owned()));
        (labels, Value::Whole((region.state == Some(state)).into()))
    };
    seen.regions().flat_map(|region| State::ALL.into_iter().map(move |state| one(region, state))).collect()
}

/// The jobs of each kind that is remembered, in every state: a count that goes back to zero is told.
fn jobs(seen: &Verdict) -> Vec<Sample> {
    let jobs = &seen.material.jobs;
    let kinds: BTreeSet<_> = jobs.values().map(|job| job.kind.as_str()).collect();
    let mut counts: BTreeMap<(&str, &str), u64> =
        kinds.into_iter().flat_map(|kind| JobState::ALL.map(|state| ((kind, state.as_str()), 0))).collect();
    jobs.values().for_each(|job| *counts.entry((job.kind.as_str(), job.state.as_str())).or_default() += 1);
    let one = |((kind, state), count): ((&str, &str), u64)| {
        (vec![("kind", kind.to_owned()), ("state", state.to_owned())], Value::Whole(count))
    };
    counts.into_iter().map(one).collect()
}

impl Collector for Verdict {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for Row { name, unit, help, kind, of } in ROWS {
            let samples = of(self);
            if samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
            for (labels, value) in samples {
                // What comes from files and from the kernel is shown as harmless as everywhere else.
                let labels: Labels =
                    labels.into_iter().map(|(name, text)| (name, clean::line(&text).into_owned())).collect();
                match kind {
                    MetricType::Info => metric.encode_info(&labels)?,
                    _ => metric.encode_family(&labels)?.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }
}
