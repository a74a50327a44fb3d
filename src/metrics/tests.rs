//! Tests of pages: each series is there with the verdict's value, and is what Prometheus reads.

mod expressions;

use super::*;
use crate::names::RegionName;
use crate::wire::{Job, JobKind, JobState, State};
use std::collections::BTreeSet;
use std::time::Duration;

fn sled() -> wire::Sled {
    serde_json::from_str(include_str!("tests/sled.json")).unwrap()
}

fn name(text: &str) -> RegionName {
    text.parse().unwrap()
}

fn job(id: u64, kind: JobKind, state: JobState) -> (u64, Job) {
    let (region, asked) = (name("still-fawn-0"), jiff::Timestamp::UNIX_EPOCH);
    let job = serde_json::json!({
        "id": id, "kind": kind, "region": region, "state": state, "step": "", "progress": null, "cancellable": false,
        "error": null, "asked": asked, "took_ms": null,
    });
    (id, serde_json::from_value(job).unwrap())
}

/// Material of a sled on which something has happened.
fn material(sled: wire::Sled) -> Arc<Material> {
    let counts = Counts::default();
    counts.know(["still-fawn-0", "still-fawn-1"].map(name).into());
    counts.ended(&name("still-fawn-1"), Class::Killed, 2);
    counts.answered(&name("still-fawn-0"), Duration::from_millis(7));
    counts.answered(&name("still-fawn-0"), Duration::from_millis(300));
    counts.granted(&"still-fawn".parse().unwrap(), 3, true);
    counts.turned();
    counts.late(Duration::from_micros(100));
    // Of what the map does not have here nothing is counted.
    counts.ended(&name("far-0"), Class::Killed, 1);
    counts.answered(&name("far-0"), Duration::ZERO);
    counts.granted(&"far".parse().unwrap(), 1, false);
    let jobs = [
        job(1, JobKind::Restart, JobState::Done),
        job(2, JobKind::Restart, JobState::Done),
        job(3, JobKind::Create, JobState::Running),
    ];
    let (sled, jobs) = (Arc::new(sled), Arc::new(jobs.into()));
    Arc::new(Material { sled, reserve_bytes: 24_000_000_000, jobs, counts })
}

const PROCESS: Process = Process { resident_bytes: Some(9 << 20), started: Some(1_769_299_200) };

/// The page of a sled on which something has happened, and something is wrong.
fn example(form: Form) -> String {
    page(&material(sled()), PROCESS, form)
}

/// The series of a page: its name with its labels, and its value.
fn series(page: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
        // A series that is there twice has the whole page refused.
        assert_eq!(all.insert(series.to_owned(), value.to_owned()), None, "{line}");
    }
    all
}

/// Series of the example, with their values.
const VALUES: &[(&str, &str)] = &[
    ("sled_build_info{version=\"0.1.0\"}", "1"),
    ("sled_port_map_info{digest=\"5a11fa40\"}", "1"),
    ("sled_verdict_timestamp_seconds", "1769342400.25"),
    ("sled_well", "0"),
    ("sled_maintenance", "0"),
    ("sled_check{code=\"REGION_HUNG\",severity=\"blocking\",subject=\"region still-fawn-1\"}", "1"),
    ("sled_check{code=\"VOLUME_OPEN\",severity=\"warning\",subject=\"volume pve\"}", "1"),
    (
        "sled_check_since_timestamp_seconds{code=\"VOLUME_OPEN\",severity=\"warning\",subject=\"volume pve\"}",
        "1769299202.5",
    ),
    ("sled_volume_ready{volume=\"still-fawn\"}", "0"),
    ("sled_volume_ready{volume=\"pve\"}", "1"),
    ("sled_volume_fault_tolerance{volume=\"still-fawn\"}", "1"),
    ("sled_volume_attached_hosts{volume=\"still-fawn\"}", "1"),
    ("sled_volume_attached_hosts{volume=\"pve\"}", "0"),
    ("sled_region_since_timestamp_seconds{region=\"still-fawn-0\",volume=\"still-fawn\"}", "1769299201.0"),
    ("sled_storage_mounted", "1"),
    ("sled_storage_capacity_bytes", "480000000000"),
    ("sled_storage_free_bytes", "320000000000"),
    ("sled_storage_promised_bytes", "165000000000"),
    ("sled_storage_used_bytes", "40000000000"),
    ("sled_storage_reserve_bytes", "24000000000"),
    ("sled_nic_carrier{nic=\"enx00e04ca81110\"}", "1"),
    ("sled_nic_link_bytes_per_second{nic=\"enx00e04ca81110\"}", "312500000"),
    ("sled_nic_usb_bytes_per_second{nic=\"enx00e04ca81110\"}", "625000000"),
    ("sled_bridge_present{bridge=\"br0\"}", "1"),
    ("sled_bridge_has_address{bridge=\"br0\"}", "1"),
    ("sled_jobs{kind=\"restart\",state=\"done\"}", "2"),
    ("sled_jobs{kind=\"restart\",state=\"running\"}", "0"),
    ("sled_jobs{kind=\"create\",state=\"running\"}", "1"),
    ("process_resident_memory_bytes", "9437184"),
    ("process_start_time_seconds", "1769299200"),
    ("sled_region_restarts_total{region=\"still-fawn-1\",volume=\"still-fawn\",class=\"killed\"}", "2"),
    ("sled_region_restarts_total{region=\"still-fawn-0\",volume=\"still-fawn\",class=\"permanent\"}", "0"),
    ("sled_region_pulse_seconds_count{region=\"still-fawn-0\",volume=\"still-fawn\"}", "2"),
    ("sled_region_pulse_seconds_sum{region=\"still-fawn-0\",volume=\"still-fawn\"}", "0.307"),
    ("sled_region_pulse_seconds_bucket{le=\"0.01\",region=\"still-fawn-0\",volume=\"still-fawn\"}", "1"),
    ("sled_region_pulse_seconds_bucket{le=\"0.5\",region=\"still-fawn-0\",volume=\"still-fawn\"}", "2"),
    ("sled_region_pulse_seconds_bucket{le=\"+Inf\",region=\"still-fawn-1\",volume=\"still-fawn\"}", "0"),
    ("sled_volume_tickets_total{volume=\"still-fawn\"}", "3"),
    ("sled_volume_takeovers_total{volume=\"still-fawn\"}", "1"),
    ("sled_nic_rejoins_total", "0"),
    ("sled_loop_turns_total", "1"),
    ("sled_loop_lag_seconds_bucket{le=\"0.001\"}", "1"),
];

#[test]
fn every_series_has_the_value_of_the_verdict() {
    let page = series(&example(Form::OpenMetrics));
    let here = |region: &str| format!("region=\"{region}\",volume=\"still-fawn\"");
    for (name, value) in VALUES {
        assert_eq!(page.get(*name).map(String::as_str), Some(*value), "{name}: {page:#?}");
    }
    for (region, is) in [("still-fawn-0", State::Serving), ("still-fawn-1", State::Hung)] {
        for state in State::ALL {
            let name = format!("sled_region_state{{{},state=\"{state}\"}}", here(region));
            assert_eq!(page[&name], u8::from(state == is).to_string(), "{name}");
        }
    }
    // Another sled's region is another sled's to tell.
    assert!(!page.keys().any(|series| series.contains("still-fawn-2") || series.contains("far")), "{page:#?}");
}

/// The names by which a page says what it has, with the type of each.
fn families(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[test]
fn a_page_is_of_one_form_or_the_other_and_says_the_same() {
    let (open, plain) = (example(Form::OpenMetrics), example(Form::Plain));
    assert!(open.ends_with("\n# EOF\n") && !plain.contains("# EOF"), "{open}");
    assert!(open.contains("# TYPE sled_build info\n") && plain.contains("# TYPE sled_build_info gauge\n"));
    let sorted = |page: &str| series(page).into_keys().collect::<BTreeSet<_>>().len();
    assert_eq!(sorted(&open), sorted(&plain));
    for (name, kind) in families(&plain) {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let help = plain.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} "))).unwrap();
        assert!(help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
    }
    for line in open.lines().filter_map(|line| line.strip_prefix("# UNIT ")) {
        let (name, unit) = line.split_once(' ').unwrap();
        assert!(name.ends_with(&format!("_{unit}")), "{line}");
    }
}

#[test]
fn what_is_not_known_has_no_series() {
    let mut sled = sled();
    sled.storage.mounted = false;
    (sled.network.carrier, sled.network.link_mbps, sled.network.usb_mbps) = (None, None, None);
    (sled.network.addresses, sled.checks) = (None, Vec::new());
    let page = page(&material(sled), Process::default(), Form::OpenMetrics);
    for absent in ["sled_storage_free", "sled_nic_link", "sled_nic_usb", "sled_check", "process_"] {
        assert!(!page.contains(absent), "{absent}: {page}");
    }
    let page = series(&page);
    let zero =
        ["sled_storage_mounted", "sled_nic_carrier{nic=\"enx00e04ca81110\"}", "sled_bridge_present{bridge=\"br0\"}"];
    zero.into_iter().for_each(|name| assert_eq!(page[name], "0", "{name}"));
}

#[test]
fn names_that_mean_something_else_elsewhere_are_written_out() {
    let mut sled = sled();
    sled.network.nic = "a\"b\\c\nd<script>alert('e')</script>\u{1b}[31m\u{202e}".into();
    sled.checks[0].subject = "nic \"} 1\nsled_well 1".into();
    for form in [Form::OpenMetrics, Form::Plain] {
        let page = page(&material(sled.clone()), PROCESS, form);
        assert_eq!(series(&page)["sled_well"], "0", "a name has said something: {page}");
        let nic = "nic=\"a\\\"b\\\\c\\\\u{a}d<script>alert('e')</script>\\\\u{1b}[31m\\\\u{202e}\"";
        assert!(page.contains(&format!("\nsled_nic_carrier{{{nic}}} 1\n")), "{page}");
        assert!(page.bytes().all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~')), "{page}");
    }
}

#[test]
fn what_the_map_has_no_more_is_not_counted_on() {
    let material = material(sled());
    material.counts.know([name("still-fawn-0"), name("pve-0")].into());
    let page = series(&page(&material, PROCESS, Form::OpenMetrics));
    let counted = |name: &str| page.keys().any(|series| series.contains("_total{") && series.contains(name));
    assert!(counted("\"still-fawn-0\"") && counted("\"pve-0\"") && !counted("\"still-fawn-1\""), "{page:#?}");
    assert_eq!(page["sled_volume_tickets_total{volume=\"still-fawn\"}"], "3");
    assert_eq!(page["sled_volume_tickets_total{volume=\"pve\"}"], "0");
    material.counts.know(BTreeSet::new());
    let page = super::page(&material, PROCESS, Form::OpenMetrics);
    assert!(!page.contains("_total{") && !page.contains("pulse_seconds_count"), "{page}");
}

#[test]
fn every_failure_has_a_class() {
    use crate::decide::failure::{Exit, LOCKED, ROWS, classify};
    let of = |exit, line: &str| Class::of(&classify(exit, &[line.to_owned()])).as_str();
    assert_eq!(of(Exit::Signal(9), ""), "killed");
    assert_eq!(of(Exit::Signal(6), ""), "aborted");
    assert_eq!(of(Exit::Status(1), "no such luck"), "exited");
    assert_eq!(of(Exit::Status(LOCKED), ""), "locked");
    assert_eq!(of(Exit::Status(1), "Error: Address already in use (os error 98)"), "port");
    assert_eq!(of(Exit::Status(1), "No space left on device"), "space");
    assert!(ROWS.iter().all(|row| !["killed", "aborted", "exited"].contains(&of(Exit::Status(1), row.words))));
    let names: BTreeSet<_> = Class::ALL.into_iter().map(Class::as_str).collect();
    assert_eq!(names.len(), Class::ALL.len());
}
