//! `sledctl volume drain`: the host that has a volume is asked to detach it.

use crate::api::{Held, Operation, Sentence};
use crate::clean;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::names::VolumeName;
use crate::span::Span;
use crate::terminal;
use crate::times::in_seconds;
use crate::wire::{self, Attached, DrainState, Refusal, Volume};
use clap::Args;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time that the supervisor is to hold an answer, in seconds.
const HOLD_LIMIT: u64 = 30;

/// Ask the host that has a volume to detach it, and wait for that. No host gets a ticket until it is ended.
#[derive(Debug, Args)]
pub(in crate::cli) struct Drain {
    /// The volume.
    volume: VolumeName,
    /// End it: hosts may attach the volume again.
    #[arg(long, conflicts_with_all = ["no_wait", "timeout", "reason"])]
    end: bool,
    /// Only ask, and do not wait until it is detached.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// How long to wait; the drain goes on after it.
    #[arg(long, value_name = "TIME", default_value = "2m")]
    timeout: Span,
    /// Why, for whoever sees that it is drained.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Drain {
    /// Begin or end a drain; `Ok(false)` if a host still has the volume.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let volume = &self.volume;
        if self.end {
            let now: Option<wire::Drain> = client.ask(&Operation::EndDrain { volume: volume.clone() }).await?;
            print(output, &now, |_| format!("{volume} is not being drained: hosts may attach it\n"))?;
            return Ok(true);
        }
        let reason = self.reason.clone().map(Sentence);
        let asked: Option<wire::Drain> = client.ask(&Operation::DrainVolume { volume: volume.clone(), reason }).await?;
        let Some(asked) = asked else { return Err(gone(volume)) };
        let mut now = client.volume(volume).await?;
        if !self.no_wait {
            now = wait(client, now, asked.id, self.timeout.into(), output).await?;
        }
        let end = End::of(&now, asked.id, self.no_wait);
        print(output, &now, |now| end.text(now, self.timeout.seconds))?;
        Ok(matches!(end, End::Free | End::Asked))
    }
}

/// Wait until the host has said how it ended, or nobody has the volume.
async fn wait(client: &Client, mut now: Volume, id: u64, time: Duration, output: Output) -> Result<Volume, Failure> {
    let until = Instant::now() + time;
    let mut told = String::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if !matches!(End::of(&now, id, false), End::Open) || left.is_zero() {
            return Ok(now);
        }
        let waits = waits_for(&now);
        if waits != told && output.is_text() {
            terminal::note(&waits);
            told = waits;
        }
        let wait = Some(Held(Duration::from_secs(HOLD_LIMIT.min(left.as_secs() + 1))));
        let shown = Operation::ShowVolume { volume: now.volume, wait, revision: Some(now.revision) };
        now = client.ask(&shown).await?;
    }
}

fn waits_for(volume: &Volume) -> String {
    let detaches = volume.drain.as_ref().and_then(|drain| drain.said.as_ref());
    match detaches {
        Some(said) => format!("{} is detaching {}", said.host, volume.volume),
        None => format!("{} is asked to detach {}", who(volume), volume.volume),
    }
}

/// Name the hosts that have a volume: those that are connected, or the one that holds it.
fn who(volume: &Volume) -> String {
    let named = |address: IpAddr, name: &Option<String>| match name {
        Some(name) => format!("{} ({address})", clean::line(name)),
        None => address.to_string(),
    };
    let mut hosts: Vec<_> =
        volume.attached.iter().map(|Attached { address, host, .. }| named(*address, host)).collect();
    if let Some(holder) = volume.holder.as_ref().filter(|holder| !holder.released && hosts.is_empty()) {
        hosts.push(named(holder.address, &holder.host));
    }
    hosts.join(" and ")
}

/// End of a drain, as far as this command waits for it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// No host has the volume.
    Free,
    /// The host was asked, and is not waited for.
    Asked,
    /// Something on the host uses the volume, or it could not be detached.
    Refused,
    /// The host has not said yet.
    Open,
    /// Somebody has ended the drain, or asked anew.
    Over,
}

impl End {
    fn of(volume: &Volume, id: u64, no_wait: bool) -> Self {
        let Some(drain) = volume.drain.as_ref().filter(|drain| drain.id == id) else { return Self::Over };
        let has = |host: IpAddr| {
            let holds = volume.holder.as_ref().is_some_and(|holder| holder.address == host && !holder.released);
            holds || volume.attached.iter().any(|attached| attached.address == host)
        };
        let nobody = volume.attached.is_empty() && volume.holder.as_ref().is_none_or(|holder| holder.released);
        match drain.said.as_ref() {
            _ if nobody => Self::Free,
            Some(said) if matches!(said.state, DrainState::InUse | DrainState::Failed) && has(said.host) => {
                Self::Refused
            }
            _ if no_wait => Self::Asked,
            _ => Self::Open,
        }
    }

    fn text(&self, volume: &Volume, seconds: u64) -> String {
        let name = &volume.volume;
        let end = format!("no host gets a ticket until: sledctl volume drain {name} --end\n");
        let said = volume.drain.as_ref().and_then(|drain| drain.said.as_ref());
        match self {
            Self::Free => match said {
                // No host has the volume any more: the one that was detaching it has, and its last word is on its way.
                Some(said) if matches!(said.state, DrainState::Detached | DrainState::Detaching) => {
                    format!("{} has detached {name}, at {}; {end}", said.host, in_seconds(said.at))
                }
                _ => format!("no host has {name}; {end}"),
            },
            Self::Asked => format!("{} is asked to detach {name}; {end}", who(volume)),
            Self::Refused => {
                let Some(said) = said else { return end };
                let users: String = said.users.iter().map(|user| format!("  {}\n", clean::line(user))).collect();
                let why = said.message.as_deref().unwrap_or("it does not say why");
                format!("{} has not detached {name}: {}\n{users}{end}", said.host, clean::line(why))
            }
            Self::Open => format!(
                "{} has said nothing within {seconds} s: its crucible-attach is older than this, does not serve it, or is \
                 not there; detach it there by hand\n{end}",
                who(volume)
            ),
            Self::Over => format!("somebody has ended the drain of {name}, or asked for it anew\n"),
        }
    }
}

fn gone(volume: &VolumeName) -> Failure {
    let message = format!("{volume} is not being drained, though it was asked for");
    Failure::refused(Refusal::Failed, message, "see journalctl -u sledd")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(attached: &[&str], released: bool, said: Option<(&str, &str)>) -> Volume {
        let attached: Vec<_> = attached
            .iter()
            .map(|address| serde_json::json!({"address": address, "since": "2026-01-01T00:00:00Z", "regions": []}))
            .collect();
        let said = said.map(|(host, state)| {
            serde_json::json!({"host": host, "state": state, "users": ["process 7 (qemu)"], "message": "it is in use",
                "at": "2026-01-01T00:00:00Z"})
        });
        serde_json::from_value(serde_json::json!({
            "volume": "still-fawn", "ready": false, "revision": 1, "as_of": "2026-01-01T00:00:00Z", "sled": "proper-raptor",
            "port_map": "x", "fault_tolerance": 0, "size_bytes": 1, "hosts": [], "regions": [], "checks": [], "generation": 7,
            "attached": attached, "holder": {"address": "10.0.0.7", "generation": 7, "since": "2026-01-01T00:00:00Z",
                "released": released},
            "drain": {"id": 3, "since": "2026-01-01T00:00:00Z", "said": said},
        }))
        .unwrap()
    }

    #[test]
    fn how_it_ends_is_told_by_who_has_it_and_what_he_says() {
        for (volume, end, part) in [
            (volume(&["10.0.0.7"], false, None), End::Open, "10.0.0.7 has said nothing within 60 s"),
            (volume(&["10.0.0.7"], false, Some(("10.0.0.7", "detaching"))), End::Open, "10.0.0.7"),
            (volume(&["10.0.0.7"], false, Some(("10.0.0.7", "in_use"))), End::Refused, "  process 7 (qemu)\n"),
            (volume(&["10.0.0.7"], false, Some(("10.0.0.7", "failed"))), End::Refused, "it is in use"),
            // A host that has said so is seen to be connected still.
            (volume(&["10.0.0.7"], false, Some(("10.0.0.7", "detached"))), End::Open, ""),
            (volume(&[], true, Some(("10.0.0.7", "detached"))), End::Free, "10.0.0.7 has detached still-fawn"),
            (volume(&[], true, None), End::Free, "no host has still-fawn"),
            (volume(&[], true, Some(("10.0.0.7", "detaching"))), End::Free, "10.0.0.7 has detached still-fawn"),
            // A host that said so once has it no more, and another does.
            (volume(&["10.0.0.8"], true, Some(("10.0.0.7", "in_use"))), End::Open, "10.0.0.8"),
        ] {
            assert_eq!(End::of(&volume, 3, false), end);
            let said = end.text(&volume, 60);
            assert!(said.contains(part) && said.contains("volume drain still-fawn --end"), "{said}");
        }
        let open = volume(&["10.0.0.7"], false, None);
        assert_eq!((End::of(&open, 3, true), End::of(&open, 4, false)), (End::Asked, End::Over));
    }
}
