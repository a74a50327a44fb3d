//! `crucible-attach check`, for monitoring: one line, and an exit code as monitoring plugins have them (0 well, 1 warning,
//! 2 critical, 3 unknown). For node_exporter, a file of metrics.

use super::arguments::CheckArguments;
use super::findings::Finding;
use super::health::Health;
use super::metrics;
use super::state::{Found, State};
use super::status::{Seen, every, quickly};
use super::{Failure, show};
use crate::check::Severity;
use crate::{clean, files};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// The file of metrics.
const FILE: &str = "crucible_attach.prom";

/// Check one volume, or all of this host.
///
/// # Errors
/// If it cannot be printed.
pub(super) async fn check(arguments: &CheckArguments, json: bool) -> Result<ExitCode, Failure> {
    let seen = match &arguments.volume {
        Some(volume) => Ok(vec![quickly(volume, &arguments.sleds, &arguments.places).await]),
        None => every(&arguments.places).await,
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => return unknown(&why.to_string(), json),
    };
    if let Some(dir) = &arguments.textfile
        && let Err(why) = write(dir, &metrics::page(&seen))
    {
        return unknown(&format!("{} cannot be written: {why}", dir.join(FILE).display()), json);
    }
    if seen.is_empty() {
        return unknown(
            &format!(
                "no volume is to be served by this host: {} has no VOLUME.conf",
                arguments.places.config.display()
            ),
            json,
        );
    }
    let worst = seen.iter().map(Health::of).max().unwrap_or(Health::Unknown);
    if json {
        let body = |seen: &Seen| json!({"volume": seen.here.volume, "state": Health::of(seen), "summary": summary(seen), "findings": seen.findings});
        show::print_json(&json!({"state": worst, "volumes": seen.iter().map(body).collect::<Vec<_>>()}))?;
    } else {
        show::print(&line(worst, &seen))?;
    }
    Ok(ExitCode::from(worst.number()))
}

fn unknown(why: &str, json: bool) -> Result<ExitCode, Failure> {
    if json {
        show::print_json(&json!({"state": Health::Unknown, "volumes": [], "why": why}))?
    } else {
        show::print(&format!("CRUCIBLE UNKNOWN - {}\n", of_line(why)))?
    }
    Ok(ExitCode::from(Health::Unknown.number()))
}

/// Compose the line, and behind it the numbers.
fn line(worst: Health, seen: &[Seen]) -> String {
    let mut order: Vec<_> = seen.iter().collect();
    order.sort_by_key(|seen| std::cmp::Reverse(Health::of(seen)));
    let said: Vec<_> = order.iter().map(|seen| format!("{}: {}", seen.here.volume, of_line(&summary(seen)))).collect();
    let numbers: Vec<_> = seen
        .iter()
        .filter_map(|one| {
            Some(numbers(one.here.state()?, if seen.len() > 1 { Some(one.here.volume.as_str()) } else { None }))
        })
        .collect();
    let numbers = if numbers.is_empty() { String::new() } else { format!(" | {}", numbers.join(" ")) };
    format!("CRUCIBLE {} - {}{numbers}\n", worst.word(), said.join("; "))
}

/// A text that ends neither the line nor what stands before the numbers.
fn of_line(text: &str) -> String {
    clean::line(text).replace('|', "/")
}

/// Say in a sentence how a volume is.
fn summary(seen: &Seen) -> String {
    let bad: Vec<_> = seen.findings.iter().filter(|finding| finding.severity != Severity::Information).collect();
    if let Some(Finding { code, cause, .. }) = bad.first() {
        let more = if bad.len() > 1 { format!(" (and {} more)", bad.len() - 1) } else { String::new() };
        return format!("{code}: {cause}{more}");
    }
    match (seen.here.state(), &seen.here.relay) {
        (Some(state), _) => {
            let requests = state.relay.as_ref().map_or(0, |relay| relay.requests);
            let mount = match seen.here.mount.as_ref().and_then(Found::there) {
                Some(mount) => format!(", mounted at {}", mount.path),
                None => String::new(),
            };
            let server = state.server.as_ref().and_then(|server| server.activity.as_ref());
            let server =
                server.map_or_else(|| "its server says nothing".into(), |activity| format!("its server is {activity}"));
            format!("served, {server}, {requests} requests wait{mount}")
        }
        (None, Some(_)) if seen.here.concerns() => "detached".into(),
        (None, Some(_)) => "it is not attached here".into(),
        (None, None) => "it cannot be looked at".into(),
    }
}

/// The numbers that a monitoring system draws curves of.
fn numbers(state: &State, of: Option<&str>) -> String {
    let name = |name: &str| of.map_or_else(|| name.to_owned(), |of| format!("{of}_{name}"));
    let mut out = String::new();
    if let Some(relay) = &state.relay {
        let held = relay.held.as_ref().map_or(0.0, |pause| pause.seconds);
        _ = write!(out, "{}={} {}={held:.3}s", name("requests"), relay.requests, name("held"));
        _ = write!(out, " {}={}B;;;0;{}", name("kept"), relay.kept_bytes, relay.most_kept_bytes);
        _ = write!(out, " {}={}c", name("pauses"), relay.pauses);
        let kinds = [("read", relay.latency.read), ("write", relay.latency.write), ("flush", relay.latency.flush)];
        for (kind, took) in kinds.into_iter().filter_map(|(kind, took)| Some((kind, took?))) {
            _ = write!(
                out,
                " {}={:.6}s {}={:.6}s",
                name(kind),
                took.median_seconds,
                name(&format!("{kind}_worst")),
                took.worst_seconds
            );
        }
    }
    out
}

/// Write the metrics so that a reader finds the old ones or the new ones. A link that lies in the way of that is not
/// followed.
fn write(dir: &Path, text: &str) -> io::Result<()> {
    let aside = dir.join(format!("{FILE}.new"));
    match fs::remove_file(&aside) {
        Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    // node_exporter is another user.
    let mut new = File::options().write(true).create_new(true).mode(0o644).open(&aside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(aside, dir.join(FILE))?;
    files::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::findings::{self, Word};
    use crate::attach::here::Here;
    use crate::wire::Refusal;

    fn seen(here: Here) -> Seen {
        let findings = findings::of(&here, Some(&Word { ready: true, reached: true, ..Word::default() }));
        Seen { here, sleds: None, word: None, findings }
    }

    #[test]
    fn a_line_says_the_worst_first_and_the_numbers_last() {
        let well = seen(Here::example());
        assert_eq!(Health::of(&well), Health::Ok);
        let said = line(Health::Ok, std::slice::from_ref(&well));
        let text = "CRUCIBLE OK - still-fawn: served, its server is active, 3 requests wait, mounted at /mnt/crucible/still-fawn | \
                    requests=3 held=0.000s kept=49152B;;;0;33554432 pauses=2c read=0.000210s read_worst=0.003400s \
                    flush=0.000800s flush_worst=0.040000s\n";
        assert_eq!(said, text);
        let mut down = Here::example();
        (down.volume, down.relay) = ("pve".parse().unwrap(), Some(Found::None));
        let down = seen(down);
        assert_eq!(Health::of(&down), Health::Critical);
        let said = line(Health::Critical, &[well, down]);
        assert!(
            said.starts_with("CRUCIBLE CRITICAL - pve: DEVICE_ALONE: ") && said.contains("; still-fawn: served"),
            "{said}"
        );
        assert!(said.contains(" | still-fawn_requests=3 ") && said.matches(['|', '\n']).count() == 2, "{said}");
        // A relay that cannot be asked is not known.
        let mut secret = Here::example();
        (secret.relay, secret.trouble) = (None, Some(crate::wire::Error::new(Refusal::NotRoot, "a|b\nc", "use sudo")));
        let secret = seen(secret);
        assert_eq!(Health::of(&secret), Health::Unknown);
        assert_eq!(line(Health::Unknown, &[secret]), "CRUCIBLE UNKNOWN - still-fawn: RELAY_SILENT: a/b\\u{a}c\n");
    }

    #[test]
    fn metrics_are_replaced_and_nobody_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("crucible_attach.prom.new")).unwrap();
        write(dir.path(), "a\n").unwrap();
        write(dir.path(), "b\n").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "b\n");
        assert_eq!(fs::read_to_string(elsewhere).unwrap(), "mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
