//! Findings about a volume on this host, each with its cause and what to do: from what was seen here, and what the
//! sleds said. Pure.

use super::activity::Activity;
use super::here::Here;
use super::state::{Found, ServiceState, State};
use super::texts::mount_name;
use crate::check::Severity;
use crate::clean;
use crate::wire::Error;
use serde::Serialize;
use std::path::Path;

pub use super::codes::Code;

/// The length from which a pause is news, in seconds: a server is replaced in about that time.
const PAUSE_SECONDS: f64 = 5.0;
/// The wait from which a request is slow, in seconds: it waits for something, a sled as a rule.
const SLOW_SECONDS: f64 = 10.0;
/// The exit status of `serve` if the volume is another host's, or another one.
const TAKEN_STATUS: i32 = 5;

/// A finding: something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) code: Code,
    /// The subject: the volume, or a part of it.
    pub(super) subject: String,
    pub(super) cause: String,
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn new(
        code: Code,
        subject: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (subject, cause, remedy) = (subject.into(), cause.into(), remedy.into());
        Self { severity: code.severity(), code, subject, cause, remedy }
    }
}

/// The sleds' word on a volume, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// All that carry the volume say that this host may attach it.
    pub(super) ready: bool,
    /// The reasons why not: what each says, with what to do.
    pub(super) reasons: Vec<(String, Error)>,
    /// The sleds that answer nothing, and why.
    pub(super) silent: Vec<(String, Error)>,
    /// At least one of them answers.
    pub(super) reached: bool,
    /// Another host that one of them has granted the volume, and how.
    pub(super) another: Option<String>,
}

/// Find what is wrong of what is to be seen here, the worst first.
pub(super) fn of(here: &Here, word: Option<&Word>) -> Vec<Finding> {
    let mut found = Vec::new();
    if here.concerns() {
        match (&here.relay, &here.trouble) {
            (Some(Found::There(state)), _) => relay(here, state, &mut found),
            (Some(Found::None), _) => found.extend(no_relay(here, word)),
            (None, Some(why)) => found.push(Finding::new(Code::RelaySilent, "relay", &why.message, &why.remedy)),
            (None, None) => {}
        }
        device(here, &mut found);
        if let Some(word) = word {
            sleds(here, word, &mut found);
        }
    }
    found.sort_by_key(|finding| (finding.severity, finding.code));
    found
}

/// The reason why there is no relay.
fn no_relay(here: &Here, word: Option<&Word>) -> Option<Finding> {
    let volume = &here.volume;
    let unit = format!("crucible-attach@{volume}");
    let service = here.service.as_ref().and_then(Found::there);
    // A device that the kernel still has is of no use then.
    if let Some(service) = service.filter(|service| service.state == "failed" && service.exit_status == TAKEN_STATUS) {
        return Some(taken(here, service, word));
    }
    if let Some(device) = here.device.as_ref().and_then(Found::there) {
        let cause = format!(
            "{} is connected and no relay serves it: its requests wait, and fail when 10 minutes are over",
            device.path
        );
        return Some(Finding::new(Code::DeviceAlone, &device.path, cause, format!("systemctl start {unit}")));
    }
    Some(match service {
        Some(service) if service.state == "failed" => Finding::new(
            Code::RelayDown,
            &service.name,
            format!("its service has failed (exit status {})", service.exit_status),
            format!("journalctl -u {unit} says why; then: systemctl start {unit}"),
        ),
        Some(service) if !service.enabled && service.state == "inactive" => Finding::new(
            Code::Detached,
            &service.name,
            Code::Detached.about().cause,
            format!("to attach it: systemctl enable --now {unit}"),
        ),
        Some(service) => Finding::new(
            Code::RelayDown,
            &service.name,
            format!("no relay serves it, and its service is {}", service.state),
            format!("systemctl start {unit}"),
        ),
        None => Finding::new(Code::RelayDown, volume.as_str(), "no relay serves it", format!("systemctl start {unit}")),
    })
}

/// The service has ended for good.
fn taken(here: &Here, service: &ServiceState, word: Option<&Word>) -> Finding {
    let unit = format!("crucible-attach@{}", here.volume);
    let (cause, first) = match word.and_then(|word| word.another.as_ref()) {
        Some(another) => (format!("its service has ended, and it is another host's: {another}"), "detach it there"),
        None => (
            "its service has ended: another host was granted the volume, or what has its name is something else".into(),
            "see which (journalctl -u the service)",
        ),
    };
    let mounted = here.mount.as_ref().and_then(Found::there);
    let mounted = mounted.map_or_else(String::new, |mount| {
        format!("what is mounted at {0} fails: end what uses it, then: umount {0}; ", mount.path)
    });
    let remedy = format!("{mounted}if it is to be here again: {first}, then: systemctl start {unit}");
    Finding::new(Code::VolumeLost, &service.name, cause, remedy)
}

fn relay(here: &Here, state: &State, found: &mut Vec<Finding>) {
    let volume = &here.volume;
    let see = || format!("crucible-attach status {volume} shows what its sleds lack; requests go on by themselves");
    let Some(relay) = &state.relay else {
        let why = state.trouble.as_ref().map_or_else(|| "it waits for its sleds".to_owned(), |why| why.message.clone());
        found.push(Finding::new(Code::NotWon, "relay", format!("{volume} is not won yet: {why}"), see()));
        return;
    };
    match &relay.held {
        Some(pause) if pause.seconds >= PAUSE_SECONDS => {
            let cause = format!("requests are held for {}: {}", length(pause.seconds), pause.why);
            let remedy = state.trouble.as_ref().map_or_else(see, |why| format!("{}: {}", why.message, why.remedy));
            found.push(Finding::new(Code::RequestsHeld, "relay", cause, remedy));
        }
        _ => {
            if let Some(oldest) = relay.oldest_request_seconds.filter(|oldest| *oldest >= SLOW_SECONDS) {
                let cause = format!("a request waits for {}, though a server serves", length(oldest));
                found.push(Finding::new(Code::RequestsSlow, "relay", cause, see()));
            }
        }
    }
    if let Some(server) = state.server.as_ref().filter(|server| server.serves) {
        let subject = format!("server (process {})", server.pid);
        match (&server.activity, &server.silent) {
            (Some(activity @ Activity::Degraded { .. }), _) => found.push(Finding::new(
                Code::ServerDegraded,
                subject,
                format!("it is {activity}"),
                format!("crucible-attach status {volume} shows how its sled is; the replica is repaired by itself when it is back"),
            )),
            (Some(activity @ Activity::Repairing { .. }), _) => found.push(Finding::new(
                Code::ServerRepairs,
                subject,
                format!("it is {activity}"),
                Code::ServerRepairs.remedy(),
            )),
            (None, Some(why)) => {
                let remedy = format!("it is replaced by itself if it answers no requests either; journalctl -u crucible-attach@{volume}");
                found.push(Finding::new(Code::ServerSilent, subject, format!("it does not say how it is: {why}"), remedy));
            }
            _ => {}
        }
    }
}

fn device(here: &Here, found: &mut Vec<Finding>) {
    let volume = &here.volume;
    let size = here.state().and_then(|state| state.ticket.as_ref()).map(|ticket| ticket.size_bytes);
    let serves = here.state().and_then(|state| state.relay.as_ref()).is_some_and(|relay| relay.serves);
    match &here.device {
        Some(Found::None) if serves && here.conf.as_ref().is_some_and(super::conf::Conf::wants_device) => {
            let remedy = format!(
                "journalctl -u crucible-attach@{volume} says why; is the kernel's module there (modprobe nbd)?"
            );
            found.push(Finding::new(Code::DeviceMissing, "device", Code::DeviceMissing.about().cause, remedy));
        }
        Some(Found::There(device)) if size.is_some_and(|size| size != device.size_bytes) => {
            let cause = format!("it has {} bytes, and the volume has {}", device.size_bytes, size.unwrap_or_default());
            found.push(Finding::new(
                Code::DeviceSize,
                &device.path,
                cause,
                format!("systemctl restart crucible-attach@{volume} connects it anew; nothing is lost by that"),
            ));
        }
        _ => {}
    }
    if let Some(Found::There(mount)) = &here.mount
        && mount.read_only
    {
        let device = here.device.as_ref().and_then(Found::there).map_or("the device", |device| &device.path);
        let cause = Code::MountReadOnly.about().cause;
        let remedy = format!(
            "dmesg says which; after an error, stop what uses it, then: umount {0} && fsck {device} && mount {0}",
            mount.path
        );
        found.push(Finding::new(Code::MountReadOnly, &mount.path, cause, remedy));
    }
    not_mounted(here, found);
    if let Some(Found::There(storage)) = &here.storage {
        if storage.active == Some(false) {
            let remedy = format!("is it enabled for this node, and mounted? pvesm status --storage {}", storage.name);
            found.push(Finding::new(Code::StorageInactive, &storage.name, Code::StorageInactive.about().cause, remedy));
        }
        if storage.kind == "dir" && !storage.guarded {
            let remedy = format!("pvesm set {} --is_mountpoint yes", storage.name);
            let cause = Code::StorageUnguarded.about().cause;
            found.push(Finding::new(Code::StorageUnguarded, &storage.name, cause, remedy));
        }
    }
}

/// The mount that is missing: the device is there and answers, and is mounted nowhere.
fn not_mounted(here: &Here, found: &mut Vec<Finding>) {
    let serves = here.state().and_then(|state| state.relay.as_ref()).is_some_and(|relay| relay.serves);
    let at = here.mounts_at.as_ref().and_then(|at| at.first());
    if let (Some(at), true, Some(Found::There(device)), Some(Found::None)) = (at, serves, &here.device, &here.mount) {
        let at = at.display().to_string();
        found.push(Finding::new(
            Code::NotMounted,
            clean::line(&at),
            format!("{} is there, and is to be mounted here, and is not", device.path),
            format!("systemctl start '{0}'; journalctl -u '{0}' says why it was not", mount_name(Path::new(&at))),
        ));
    }
}

fn sleds(here: &Here, word: &Word, found: &mut Vec<Finding>) {
    let serves =
        here.state().and_then(|state| state.relay.as_ref()).is_some_and(|relay| relay.serves && relay.held.is_none());
    if !word.reached {
        let all: Vec<_> = word.silent.iter().map(|(sled, why)| format!("{sled}: {}", why.message)).collect();
        let mut finding = Finding::new(
            Code::SledsSilent,
            here.volume.as_str(),
            format!("no sled answers: {}", all.join("; ")),
            Code::SledsSilent.remedy(),
        );
        // Two of its programs are two things: what is asked about them, and what serves the data.
        finding.severity = if serves { Severity::Warning } else { Severity::Blocking };
        found.push(finding);
        return;
    }
    for (sled, why) in &word.silent {
        found.push(Finding::new(Code::SledSilent, sled, &why.message, &why.remedy));
    }
    if let Some((sled, why)) = word.reasons.first().filter(|_| !word.ready) {
        let more = match word.reasons.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        let cause = format!("{}: {}{more}", why.code, why.message);
        found.push(Finding::new(Code::VolumeNotReady, sled, cause, &why.remedy));
    }
}

/// A length of time, as people say it.
pub(super) fn length(seconds: f64) -> String {
    match seconds {
        short if short < 0.001 => format!("{:.2} ms", short * 1e3),
        short if short < 0.1 => format!("{:.1} ms", short * 1e3),
        short if short < 1.0 => format!("{:.0} ms", short * 1e3),
        some if some < 60.0 => format!("{some:.1} s"),
        minutes if minutes < 3600.0 => format!("{:.0} min {:.0} s", (minutes / 60.0).floor(), (minutes % 60.0).floor()),
        hours if hours < 86_400.0 => {
            format!("{:.0} h {:.0} min", (hours / 3600.0).floor(), (hours % 3600.0 / 60.0).floor())
        }
        days => format!("{:.0} d {:.0} h", (days / 86_400.0).floor(), (days % 86_400.0 / 3600.0).floor()),
    }
}

#[cfg(test)]
mod tests;
