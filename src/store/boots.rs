//! Boots of the machine: whether the one before this ended in a shutdown. The supervisor writes down in which boot it
//! runs, and at its end whether the machine is being switched off; one that finds another boot's word that it runs knows
//! that nobody has switched that off. Who stopped the supervisor before is not held against the machine: then nothing is
//! known of its end.

use crate::decide::facts::Unclean;
use crate::files::{make_dir, replace};
use crate::kernel::attributes;
use crate::store::mark::{MEMORY_MODE, memory};
use crate::update::record::boot_id;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

const FILE: &str = "boot.json";
/// `WDIOF_CARDRESET` of linux/watchdog.h: the watchdog has reset the machine.
const CARD_RESET: u64 = 0x20;
/// The directory to which systemd-pstore takes what a kernel that panicked has left.
const PANICS: &str = "/var/lib/systemd/pstore";

/// The word of a supervisor about the boot in which it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// The boot (random(4), `boot_id`).
    boot: String,
    /// What becomes of it.
    state: State,
    /// How the boot before it ended, if that was no shutdown.
    #[serde(default)]
    before: Option<Unclean>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// A supervisor runs.
    Running,
    /// The supervisor was stopped; the machine went on.
    Left,
    /// The machine was switched off.
    Ended,
}

/// Write down that a supervisor runs in this boot, and tell how the one before ended, if that was no shutdown.
pub fn begin(sysfs: &Path) -> Option<Unclean> {
    let boot =
        boot_id().inspect_err(|why| tracing::warn!("the kernel does not tell which boot this is: {why}")).ok()?;
    let before = before(&memory(), &boot, || how(sysfs, Path::new(PANICS)));
    let now = Boot { boot, state: State::Running, before };
    write(&memory(), &now).unwrap_or_else(|why| tracing::warn!("this boot cannot be written down: {why}"));
    before
}

/// Write down that the supervisor ends, and whether the machine is being switched off.
pub fn end(machine_ends: bool) {
    let state = if machine_ends { State::Ended } else { State::Left };
    let boot = boot_id().unwrap_or_default();
    let before = read(&memory()).filter(|known| known.boot == boot).and_then(|known| known.before);
    let last = Boot { boot, state, before };
    write(&memory(), &last).unwrap_or_else(|why| tracing::warn!("the end of this boot cannot be written down: {why}"));
}

fn before(memory: &Path, boot: &str, how: impl FnOnce() -> Unclean) -> Option<Unclean> {
    let known = read(memory)?;
    if known.boot == boot { known.before } else { (known.state == State::Running).then(how) }
}

fn read(memory: &Path) -> Option<Boot> {
    serde_json::from_slice(&fs::read(memory.join(FILE)).ok()?).ok()
}

fn write(memory: &Path, boot: &Boot) -> io::Result<()> {
    make_dir(memory, MEMORY_MODE)?;
    replace(memory, FILE, &serde_json::to_vec(boot)?)
}

/// Tell how the boot before this one ended, which was no shutdown.
fn how(sysfs: &Path, panics: &Path) -> Unclean {
    let class = sysfs.join("class/watchdog");
    let bits = |name: &String| attributes::number::<u64>(&class.join(name).join("bootstatus"));
    if attributes::names(&class).iter().filter_map(bits).any(|bits| bits & CARD_RESET != 0) {
        return Unclean::Watchdog;
    }
    // What the kernel left before is taken there in this boot.
    let since_boot = crate::kernel::clock::now().map_or(Duration::ZERO, |(_, since_boot)| since_boot);
    let of_this_boot = |entry: fs::DirEntry| {
        let taken = entry.metadata().and_then(|found| found.modified()).ok()?;
        Some(SystemTime::now().duration_since(taken).unwrap_or_default() <= since_boot)
    };
    let entries = fs::read_dir(panics).into_iter().flatten().flatten();
    if entries.filter_map(of_this_boot).any(|own| own) { Unclean::Panic } else { Unclean::Cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boot_that_nobody_ended_was_unclean() {
        let dir = tempfile::tempdir().unwrap();
        let at = |boot: &str| before(dir.path(), boot, || Unclean::Cut);
        let say = |boot: &str, state, before| write(dir.path(), &Boot { boot: boot.into(), state, before }).unwrap();
        assert_eq!(at("a"), None, "nothing is known");
        say("a", State::Running, None);
        assert_eq!((at("a"), at("b")), (None, Some(Unclean::Cut)));
        // Another supervisor of the same boot tells the same.
        say("b", State::Running, Some(Unclean::Watchdog));
        assert_eq!(at("b"), Some(Unclean::Watchdog));
        say("b", State::Left, Some(Unclean::Watchdog));
        assert_eq!((at("b"), at("c")), (Some(Unclean::Watchdog), None), "nobody was there to see it end");
        say("b", State::Ended, Some(Unclean::Watchdog));
        assert_eq!(at("c"), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(at("c"), None);
    }

    #[test]
    fn a_watchdog_and_a_panic_leave_word() {
        let tree = tempfile::tempdir().unwrap();
        let panics = tree.path().join("pstore");
        assert_eq!(how(tree.path(), &panics), Unclean::Cut);
        fs::create_dir_all(panics.join("1796034179")).unwrap();
        assert_eq!(how(tree.path(), &panics), Unclean::Panic);
        let watchdog = tree.path().join("class/watchdog/watchdog0");
        fs::create_dir_all(&watchdog).unwrap();
        fs::write(watchdog.join("bootstatus"), "0\n").unwrap();
        assert_eq!(how(tree.path(), &panics), Unclean::Panic);
        fs::write(watchdog.join("bootstatus"), "32\n").unwrap();
        assert_eq!(how(tree.path(), &panics), Unclean::Watchdog);
    }
}
