//! `crucible-attach detach V`: unmounts what is mounted of the volume, if nothing uses it, and stops its service, so that the
//! volume is let go of; else says what uses it, and leaves everything as it is. With `--asked` the sleds that have asked for
//! it (`sledctl volume drain`) are told how it ended.

use super::arguments::DetachArguments;
use super::disk::{self, Disk};
use super::failure::Failure;
use super::here::Here;
use super::release::Granted;
use super::sleds::{Aim, Sleds};
use super::texts;
use super::units::Units;
use super::{NOT_WELL, arguments, client, show, users};
use crate::clean;
use crate::names::VolumeName;
use crate::wire::{DrainState, Drained, Error, Refusal};
use procfs::process::MountInfo;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long the sleds are told that the volume is let go of: they may still see the server's connections.
const RELEASE_LIMIT: Duration = Duration::from_secs(6);
/// How long the kernel may take to have no device any more once its relay has ended, and the pause between two looks.
const DEVICE_GONE_LIMIT: Duration = Duration::from_secs(5);
const DEVICE_POLL: Duration = Duration::from_millis(100);
/// How long the sleds that have asked for it may take to be told.
const TELL_LIMIT: Duration = Duration::from_secs(20);

/// The outcome of a detachment, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// The volume is attached here no more.
    Detached,
    /// Something uses the volume, and it is as it was.
    InUse,
    /// The volume could not be detached, for another reason.
    Failed,
}

/// The outcome of a detachment: what was done, and what is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    pub(super) volume: VolumeName,
    pub(super) state: State,
    /// The steps that were done, in their order.
    pub(super) done: Vec<String>,
    /// The users of the volume.
    pub(super) users: Vec<String>,
    /// The reason why the volume is not detached.
    pub(super) error: Option<Error>,
}

impl Outcome {
    fn of(volume: &VolumeName) -> Self {
        Self { volume: volume.clone(), state: State::Detached, done: Vec::new(), users: Vec::new(), error: None }
    }

    /// Note that these use it.
    fn in_use(&mut self, what: &str, users: Vec<String>) {
        let message = format!("{what} is in use: {}", users::named(&users));
        let remedy = format!("end these, then again: crucible-attach detach {}", self.volume);
        self.state = State::InUse;
        (self.users, self.error) = (users, Some(Error::new(Refusal::InUse, message, remedy)));
    }

    fn failed(&mut self, why: &Failure) {
        (self.state, self.error) = (State::Failed, Some(why.error()));
    }
}

/// Detach a volume, and show what was done.
///
/// # Errors
/// If it cannot be shown.
pub(super) async fn detach(arguments: &DetachArguments, json: bool) -> Result<ExitCode, Failure> {
    let outcome = if arguments.asked { asked(arguments).await? } else { carry_out(arguments).await };
    if json {
        show::print_json(&serde_json::to_value(&outcome).map_err(std::io::Error::from)?)?
    } else {
        show::print(&said(&outcome))?
    }
    Ok(match (outcome.state, &outcome.error) {
        // The sleds that have asked know it.
        (State::InUse, _) if arguments.asked => ExitCode::SUCCESS,
        (State::Detached, None) => ExitCode::SUCCESS,
        (State::Detached, Some(_)) => ExitCode::from(NOT_WELL),
        (State::InUse | State::Failed, _) => ExitCode::FAILURE,
    })
}

/// Detach the volume, and tell the sleds that have asked for it how it went.
async fn asked(arguments: &DetachArguments) -> Result<Outcome, Failure> {
    let volume = &arguments.volume;
    let given = arguments::sleds(&arguments.sleds, volume, &arguments.places.config)?;
    let sleds = Sleds::look(volume, given, Aim::Win).await;
    let wishes = sleds.all.iter().filter_map(|sled| {
        let look = sled.news.as_ref()?.as_ref().ok()?;
        Some((sled.endpoint.clone(), look.volume.drain.as_ref()?.id))
    });
    let wishes: Vec<_> = wishes.collect();
    let tell = async |state: DrainState, users: Vec<String>, message: Option<String>| {
        for (sled, id) in &wishes {
            let body = Drained { id: *id, state, users: users.clone(), message: message.clone() }.fitting();
            let told = timeout(TELL_LIMIT, client::drained(sled, volume, &body)).await;
            if let Some(why) =
                told.map_or(Some("no answer".to_owned()), |told| told.err().map(|why| why.error().message))
            {
                show::note(&format!("{sled} was not told how it went: {why}"));
            }
        }
    };
    tell(DrainState::Detaching, Vec::new(), None).await;
    let outcome = carry_out(arguments).await;
    let state = match outcome.state {
        State::Detached => DrainState::Detached,
        State::InUse => DrainState::InUse,
        State::Failed => DrainState::Failed,
    };
    tell(state, outcome.users.clone(), outcome.error.as_ref().map(|why| why.message.clone())).await;
    Ok(outcome)
}

/// The outcome as people read it.
fn said(outcome: &Outcome) -> String {
    let mut out = String::new();
    outcome.done.iter().for_each(|done| _ = writeln!(out, "{}", clean::line(done)));
    let volume = &outcome.volume;
    match (outcome.state, &outcome.error) {
        (State::Detached, None) => _ = writeln!(out, "{volume} is not attached here"),
        (State::InUse, Some(why)) => {
            _ = writeln!(out, "{volume} is not detached: {}", why.message.split(": ").next().unwrap_or_default());
            outcome.users.iter().for_each(|user| _ = writeln!(out, "  {}", clean::line(user)));
            _ = writeln!(out, "    -> {}", clean::line(&why.remedy));
        }
        (_, Some(why)) => {
            _ = writeln!(out, "{volume}: {}\n    -> {}", clean::line(&why.message), clean::line(&why.remedy))
        }
        (_, None) => {}
    }
    out
}

async fn carry_out(arguments: &DetachArguments) -> Outcome {
    let mut outcome = Outcome::of(&arguments.volume);
    if let Err(why) = steps(arguments, &mut outcome).await {
        outcome.failed(&why);
    }
    outcome
}

async fn steps(arguments: &DetachArguments, outcome: &mut Outcome) -> Result<(), Failure> {
    let volume = &arguments.volume;
    let here = Here::look(volume, &arguments.places, false).await;
    let systemd = Units::connect().await?;
    let service = systemd.service(&texts::service(volume)).await?;
    let mounts = disk::all_mounts()?;
    let disk = Disk::of(volume)?;
    if let Some(disk) = &disk {
        let places: Vec<_> = disk.mounts(&mounts).iter().map(|mount| disk::place(mount)).collect();
        if let Some((what, found)) = in_the_way(disk, &places, &mounts, service.pid) {
            outcome.in_use(&what, found);
            return Ok(());
        }
        for place in places.iter().rev() {
            unmount(&systemd, disk, place, outcome).await?;
            if outcome.state != State::Detached {
                return Ok(());
            }
        }
    }
    let name = texts::service(volume);
    if !service.is_stopped() {
        systemd.stop(&name).await?;
        outcome.done.push(format!("{name} is stopped"));
    } else if let Some(state) = here.state() {
        let message = format!("its relay (process {}) was begun by hand, and not by {name}", state.pid);
        return Err(Failure::refused(Refusal::NotOurs, message, format!("end it: kill {}", state.pid)));
    }
    if systemd.service(&name).await?.unflushed {
        let message = "it could not flush what was acknowledged before it was stopped: its sleds do not serve. That is kept, and the \
                       volume is this host's still";
        return Err(Failure::refused(
            Refusal::NotFlushed,
            message,
            format!("when they serve: systemctl start {name}, then again"),
        ));
    }
    gone(volume).await?;
    // The volume is detached here, whatever the sleds can be told.
    outcome.error = release(arguments, outcome).await.err().map(|why| why.error());
    Ok(())
}

/// The users of a device or of what is mounted of it, but for its own mounts and the relay.
fn in_the_way(
    disk: &Disk,
    places: &[PathBuf],
    mounts: &[MountInfo],
    relay: Option<u32>,
) -> Option<(String, Vec<String>)> {
    let own: BTreeSet<_> = places.iter().map(|place| users::mount_at(place)).collect();
    let foreign = |found: Vec<String>| found.into_iter().filter(|user| !own.contains(user)).collect::<Vec<_>>();
    for place in places {
        let found = foreign(users::of_mount(place, mounts));
        if !found.is_empty() {
            return Some((place.display().to_string(), found));
        }
    }
    let but = places.first().map_or(Path::new(""), PathBuf::as_path);
    let found = foreign(users::of_device(disk.index, but, relay, mounts));
    (!found.is_empty()).then(|| (disk.shown.path.clone(), found))
}

/// Unmount, as systemd would: what a unit mounts is stopped.
async fn unmount(systemd: &Units, disk: &Disk, place: &Path, outcome: &mut Outcome) -> Result<(), Failure> {
    let name = texts::mount_name(place);
    let stopped = systemd.stop(&name).await;
    let mounts = disk::all_mounts()?;
    if !disk.mounts(&mounts).iter().any(|mount| disk::place(mount) == place) {
        outcome.done.push(format!("{} is unmounted", place.display()));
        return Ok(());
    }
    // Somebody came meanwhile, or it is used in a way that no process shows (an export of NFS, for example).
    let found = users::of_mount(place, &mounts);
    let why = stopped
        .err()
        .map_or_else(|| "systemd says that it is, and it is mounted still".to_owned(), |why| why.to_string());
    let found = if found.is_empty() { vec![format!("something that no process shows ({why})")] } else { found };
    outcome.in_use(&place.display().to_string(), found);
    Ok(())
}

/// Wait until the kernel has no device of the volume any more: the relay has disconnected it.
async fn gone(volume: &VolumeName) -> Result<(), Failure> {
    let until = Instant::now() + DEVICE_GONE_LIMIT;
    while let Some(disk) = Disk::of(volume)? {
        if Instant::now() > until {
            let message = format!("{} is connected still, though nothing is seen that uses it", disk.shown.path);
            return Err(Failure::refused(
                Refusal::InUse,
                message,
                format!("lsblk {} shows what lies on it; then again", disk.shown.path),
            ));
        }
        sleep(DEVICE_POLL).await;
    }
    Ok(())
}

/// Let go of the volume on its sleds, if the relay has not.
async fn release(arguments: &DetachArguments, outcome: &mut Outcome) -> Result<(), Failure> {
    let volume = &arguments.volume;
    let given = arguments::sleds(&arguments.sleds, volume, &arguments.places.config)?;
    let until = Instant::now() + RELEASE_LIMIT;
    let late = || {
        let message =
            format!("it is detached here, and not all of its sleds could be told so in {} s", RELEASE_LIMIT.as_secs());
        Failure::refused(
            Refusal::NotReleased,
            message,
            format!("crucible-attach release {volume}, when they answer; others wait 45 s"),
        )
    };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let looked = timeout(left, Sleds::look(volume, given.clone(), Aim::Win)).await;
        let sleds = looked.map_err(|_| late())?;
        if sleds.reached() {
            sleds.found()?;
        }
        let silent = sleds.carriers().len() > sleds.looks().count() || !sleds.reached();
        let told = timeout(left, Granted::held(&sleds).release(volume)).await.map_err(|_| late())?;
        if !silent && told.values().all(Result::is_ok) {
            if !told.is_empty() {
                let names: Vec<_> = told.keys().map(ToString::to_string).collect();
                outcome.done.push(format!("{volume} is let go of on {}", names.join(", ")));
            }
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(late());
        }
        sleep(DEVICE_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_is_in_the_way_is_said() {
        let mut outcome = Outcome::of(&"still-fawn".parse().unwrap());
        outcome.done.push("/mnt/a is unmounted".into());
        assert_eq!(said(&outcome), "/mnt/a is unmounted\nstill-fawn is not attached here\n");
        outcome.in_use("/mnt/a", vec!["process 7 (a\u{1b}b)".into(), "swap (/mnt/a/swap)".into()]);
        let text = "/mnt/a is unmounted\nstill-fawn is not detached: /mnt/a is in use\n  process 7 (a\\u{1b}b)\n  swap (/mnt/a/swap)\n    \
                    -> end these, then again: crucible-attach detach still-fawn\n";
        assert_eq!(said(&outcome), text);
        assert_eq!(serde_json::to_value(&outcome).unwrap()["state"], "in_use");
        outcome.failed(&Failure::refused(Refusal::NotFlushed, "why", "what to do"));
        assert!(said(&outcome).ends_with("still-fawn: why\n    -> what to do\n"));
    }
}
