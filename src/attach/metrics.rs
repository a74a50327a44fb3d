//! Metrics of the volumes of this host, in Prometheus' text format, for node_exporter's textfile collector. Pure.

use super::activity::Activity;
use super::health::Health;
use super::state::{Found, PauseState, RelayState, Took};
use super::status::Seen;
use crate::check::Severity;
use std::fmt::Write as _;

/// A sample: its labels beside the volume, and its value.
type Sample = (Vec<(&'static str, String)>, f64);

/// One metric of all volumes: its name behind `crucible_attach_`, what it is, and how it is had of a volume.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&Seen) -> Vec<Sample>,
}

const fn metric(name: &'static str, kind: &'static str, help: &'static str, of: fn(&Seen) -> Vec<Sample>) -> Metric {
    Metric { name, kind, help, of }
}

const METRICS: &[Metric] = &[
    metric("check_state", "gauge", "How it is: 0 well, 1 warning, 2 critical, 3 unknown.", |seen| {
        one(Some(f64::from(Health::of(seen).number())))
    }),
    metric("findings", "gauge", "Things that are wrong.", |seen| {
        let count = |severity| seen.findings.iter().filter(|finding| finding.severity == severity).count() as f64;
        [Severity::Blocking, Severity::Warning]
            .map(|severity| (vec![("severity", severity.to_string())], count(severity)))
            .into()
    }),
    metric("finding", "gauge", "A thing that is wrong, by its code: always 1.", |seen| {
        let mut codes: Vec<_> = seen.findings.iter().map(|finding| finding.code).collect();
        codes.dedup();
        codes.into_iter().map(|code| (vec![("code", code.to_string())], 1.0)).collect()
    }),
    metric("relay_up", "gauge", "Whether a relay says how it is.", |seen| {
        one(seen.here.relay.as_ref().map(|relay| truth(relay.there().is_some())))
    }),
    metric("serves", "gauge", "Whether requests go on.", |seen| {
        relay(seen, |relay| truth(relay.serves && relay.held.is_none()))
    }),
    metric("server_active", "gauge", "Whether the server is active with all replicas.", |seen| {
        let server = seen.here.state().map(|state| state.server.as_ref());
        one(server.map(|server| truth(server.is_some_and(|server| server.activity == Some(Activity::Active)))))
    }),
    metric("reconcile_extents", "gauge", "Extents that the server makes alike before it serves.", |seen| {
        let server = seen.here.state().and_then(|state| state.server.as_ref());
        match server.and_then(|server| server.activity.as_ref()) {
            Some(Activity::Reconciling { done, needed }) => [("done", *done), ("needed", *needed)]
                .map(|(of, number)| (vec![("of", of.to_owned())], number as f64))
                .into(),
            _ => Vec::new(),
        }
    }),
    metric("generation", "gauge", "The generation of the ticket.", |seen| {
        one(seen.here.state().and_then(|state| Some(state.ticket.as_ref()?.generation as f64)))
    }),
    metric("size_bytes", "gauge", "The size of the volume.", |seen| {
        one(seen.here.state().and_then(|state| Some(state.ticket.as_ref()?.size_bytes as f64)))
    }),
    metric("requests_waiting", "gauge", "Requests that are not answered.", |seen| {
        relay(seen, |relay| relay.requests as f64)
    }),
    metric("oldest_request_seconds", "gauge", "How long the first of them has waited.", |seen| {
        relay(seen, |relay| relay.oldest_request_seconds.unwrap_or_default())
    }),
    metric("held_seconds", "gauge", "How long requests are held now; 0 if they are not.", |seen| {
        relay(seen, |relay| relay.held.as_ref().map_or(0.0, |PauseState { seconds, .. }| *seconds))
    }),
    metric("kept_writes", "gauge", "Writes that were acknowledged and are not flushed.", |seen| {
        relay(seen, |relay| relay.kept_writes as f64)
    }),
    metric("kept_bytes", "gauge", "Bytes of these.", |seen| relay(seen, |relay| relay.kept_bytes as f64)),
    metric("kept_limit_bytes", "gauge", "Bytes that may be kept.", |seen| {
        relay(seen, |relay| relay.most_kept_bytes as f64)
    }),
    metric("requests_total", "counter", "Requests that were answered.", |seen| {
        relay(seen, |relay| relay.answered as f64)
    }),
    metric("pauses_total", "counter", "Times that requests were held, and went on.", |seen| {
        relay(seen, |relay| relay.pauses as f64)
    }),
    metric("paused_seconds_total", "counter", "How long these were together.", |seen| {
        relay(seen, |relay| relay.paused_seconds)
    }),
    metric("servers_total", "counter", "Servers that have served.", |seen| relay(seen, |relay| relay.servers as f64)),
    metric("replays_total", "counter", "Servers that were given kept writes again.", |seen| {
        relay(seen, |relay| relay.replays as f64)
    }),
    metric("replayed_writes_total", "counter", "Writes that were given again.", |seen| {
        relay(seen, |relay| relay.replayed_writes as f64)
    }),
    metric("latency_median_seconds", "gauge", "Median of how long requests of the last minute took.", |seen| {
        latency(seen, |took| took.median_seconds)
    }),
    metric("latency_worst_seconds", "gauge", "The longest that a request of the last minute took.", |seen| {
        latency(seen, |took| took.worst_seconds)
    }),
    metric("device_connected", "gauge", "Whether the kernel has a device of it.", |seen| {
        one(seen.here.device.as_ref().map(|device| truth(device.there().is_some())))
    }),
    metric("mounted", "gauge", "Whether that is mounted.", |seen| {
        one(seen.here.mount.as_ref().map(|mount| truth(mount.there().is_some())))
    }),
    metric("mount_read_only", "gauge", "Whether what is mounted can be read only.", |seen| {
        one(seen.here.mount.as_ref().and_then(Found::there).map(|mount| truth(mount.read_only)))
    }),
    metric("sled_ready", "gauge", "Whether a sled says that the volume may be attached.", |seen| {
        let looks = seen.sleds.iter().flat_map(|sleds| sleds.looks());
        looks.map(|look| (vec![("sled", look.volume.sled.to_string())], truth(look.volume.ready))).collect()
    }),
    metric("sleds_silent", "gauge", "Sleds that were asked and have not answered.", |seen| {
        one(seen.word.as_ref().map(|word| word.silent.len() as f64))
    }),
];

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn one(value: Option<f64>) -> Vec<Sample> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn relay(seen: &Seen, value: impl Fn(&RelayState) -> f64) -> Vec<Sample> {
    one(seen.here.state().and_then(|state| state.relay.as_ref()).map(value))
}

fn latency(seen: &Seen, value: impl Fn(Took) -> f64) -> Vec<Sample> {
    let Some(relay) = seen.here.state().and_then(|state| state.relay.as_ref()) else { return Vec::new() };
    let kinds = [("read", relay.latency.read), ("write", relay.latency.write), ("flush", relay.latency.flush)];
    kinds.into_iter().filter_map(|(kind, took)| Some((vec![("kind", kind.to_owned())], value(took?)))).collect()
}

/// Compose all metrics of all volumes. A metric of which nothing is known is left out.
pub(super) fn page(seen: &[Seen]) -> String {
    let mut out = String::new();
    for Metric { name, kind, help, of } in METRICS {
        let samples: Vec<_> =
            seen.iter().flat_map(|seen| of(seen).into_iter().map(move |sample| (seen, sample))).collect();
        if samples.is_empty() {
            continue;
        }
        _ = writeln!(out, "# HELP crucible_attach_{name} {help}\n# TYPE crucible_attach_{name} {kind}");
        for (seen, (labels, value)) in samples {
            _ = write!(out, "crucible_attach_{name}{{volume=\"{}\"", escaped(seen.here.volume.as_str()));
            labels.iter().for_each(|(name, value)| _ = write!(out, ",{name}=\"{}\"", escaped(value)));
            _ = writeln!(out, "}} {value}");
        }
    }
    out
}

/// The value of a label, as the format has it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::findings;
    use crate::attach::here::Here;
    use std::collections::BTreeSet;

    fn seen(here: Here) -> Seen {
        let findings = findings::of(&here, None);
        Seen { here, sleds: None, word: None, findings }
    }

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut down = Here::example();
        (down.volume, down.relay) = ("pve".parse().unwrap(), Some(Found::None));
        let page = page(&[seen(Here::example()), seen(down)]);
        for said in [
            "# TYPE crucible_attach_requests_total counter\ncrucible_attach_requests_total{volume=\"still-fawn\"} 1000\n",
            "crucible_attach_check_state{volume=\"still-fawn\"} 0\ncrucible_attach_check_state{volume=\"pve\"} 2\n",
            "crucible_attach_finding{volume=\"pve\",code=\"DEVICE_ALONE\"} 1\n",
            "crucible_attach_latency_median_seconds{volume=\"still-fawn\",kind=\"read\"} 0.00021\n",
            "crucible_attach_relay_up{volume=\"pve\"} 0\n",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        // Each name once, its HELP and TYPE before its samples, and no sample twice.
        let (mut names, mut lines, mut current) = (BTreeSet::new(), BTreeSet::new(), String::new());
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().unwrap().to_owned();
                assert!(names.insert(current.clone()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(name == current && (kind == "counter") == name.ends_with("_total"), "{line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(sample.starts_with(&format!("{current}{{volume=\"")) && lines.insert(sample), "{line}");
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            }
        }
        assert!(page.ends_with('\n') && names.len() > 20, "{page}");
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
