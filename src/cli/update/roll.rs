//! Roll of another version's downstairs program over the regions, which spares a sled the reboot.

use crate::cli::client::Client;
use crate::cli::downstairs;
use crate::cli::failure::Failure;
use crate::cli::neighbours::Doors;
use crate::cli::print::Output;
use crate::terminal;
use crate::update::NAME;
use crate::update::release::Release;
use crate::wire::Refusal;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::io;
use std::path::Path;
use tokio::process::Command;

/// Directory at which the slot of another version is mounted while it is looked at.
const SLOT: &str = "/run/sled-update/slot";

/// Roll as [`roll`] does; a version that cannot be looked at is not known to be alike.
pub(super) async fn try_to_roll(
    client: &Client,
    doors: &Doors,
    running: &Release,
    version: &str,
    output: Output,
) -> Result<Option<bool>, Failure> {
    match roll(client, doors, running, version, output).await {
        Err(Failure::Io(why)) => {
            terminal::note(&format!("{version} cannot be compared with {}: {why}", running.version));
            Ok(None)
        }
        rolled => rolled.inspect_err(|_| {
            terminal::note(&format!(
                "{version} is in its slot and starts at the next boot, but its downstairs was not rolled over all of \
                 the regions (the same command tries it again):"
            ));
        }),
    }
}

/// Roll the downstairs program of another version over the regions if that is all it has of its own.
/// `None`: more is new than the program, or there is no region, and the next boot brings it.
async fn roll(
    client: &Client,
    doors: &Doors,
    running: &Release,
    version: &str,
    output: Output,
) -> Result<Option<bool>, Failure> {
    let slot = Slot::mount(version).await?;
    let there = Release::read(slot.0)?;
    if there.base != running.base {
        return Ok(None);
    }
    if there.downstairs == running.downstairs {
        return Ok(Some(true));
    }
    let program = slot.0.join("usr/lib/crucible/crucible-downstairs");
    unless_there_is_none(downstairs::upgrade(client, doors, Some(&program), false, output).await)
}

/// Take a roll over no region for none: a sled without regions has nothing to roll over, and the next boot brings the
/// program.
fn unless_there_is_none(rolled: Result<bool, Failure>) -> Result<Option<bool>, Failure> {
    match rolled {
        Err(Failure::Refused(why)) if why.code == Refusal::RegionUnknown => Ok(None),
        rolled => rolled.map(Some),
    }
}

/// Slot of another version, mounted until it is dropped.
struct Slot(&'static Path);

impl Slot {
    async fn mount(version: &str) -> io::Result<Self> {
        let (device, at) = (format!("/dev/sled/{NAME}_{version}"), Path::new(SLOT));
        // The slot has just been given its name: udev may not have heard of it.
        let settle = [format!("--exit-if-exists={device}"), "--timeout=30".into()];
        Command::new("udevadm").arg("trigger").args(["--subsystem-match=block", "--settle"]).status().await?;
        Command::new("udevadm").arg("settle").args(settle).status().await?;
        fs::create_dir_all(at)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(device.as_str()), at, Some("erofs"), flags, None::<&str>)?;
        Ok(Self(at))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A mount that stays is gone with the boot.
        _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_over_no_region_is_no_failure_and_waits_for_a_reboot() {
        let became = |code: Refusal| unless_there_is_none(Err(Failure::refused(code, "no", "ask again")));
        assert_eq!(became(Refusal::RegionUnknown).unwrap(), None);
        assert!(matches!(became(Refusal::SiblingDown), Err(Failure::Refused(why)) if why.code == Refusal::SiblingDown));
        assert_eq!(unless_there_is_none(Ok(false)).unwrap(), Some(false));
    }
}
