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
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "boot.json";
/// `WDIOF_CARDRESET` of linux/watchdog.h: the watchdog has reset the machine.
const CARD_RESET: u64 = 0x20;
/// The directory to which systemd-pstore takes what a kernel that panicked has left, before a supervisor is started.
pub const PANICS: &str = "/var/lib/systemd/pstore";
/// The most of it that is remembered; systemd-tmpfiles removes it after two weeks.
const MOST_PANICS: usize = 1000;

/// End of the boot before this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastEnd {
    /// Nobody has seen it, or the kernel does not tell which boot is which.
    #[default]
    NotKnown,
    /// The machine was shut down.
    Shutdown,
    /// The machine was not shut down.
    Unclean(Unclean),
}

impl LastEnd {
    /// Tell how it ended, if that was no shutdown.
    pub fn unclean(self) -> Option<Unclean> {
        match self {
            Self::Unclean(how) => Some(how),
            Self::NotKnown | Self::Shutdown => None,
        }
    }
}

/// The word of a supervisor about the boot in which it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// The boot (random(4), `boot_id`).
    boot: String,
    /// What becomes of it.
    state: State,
    /// How the boot before it ended.
    #[serde(default)]
    before: LastEnd,
    /// What kernels that panicked in earlier boots have left: what comes to it was left by this one. `None`: that was not
    /// looked at.
    #[serde(default)]
    panics: Option<BTreeSet<String>>,
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

/// Write down that a supervisor runs in this boot, and tell how the one before ended.
pub fn begin(sysfs: &Path) -> LastEnd {
    let Some(boot) = this_boot() else { return LastEnd::NotKnown };
    let panics = left_by_panics(Path::new(PANICS));
    let before = before(&memory(), &boot, watchdog_reset(sysfs), |known| how(known, &panics));
    let now = Boot { boot, state: State::Running, before, panics: Some(panics) };
    write(&memory(), &now).unwrap_or_else(|why| tracing::warn!("this boot cannot be written down: {why}"));
    before
}

/// How a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// The machine goes on.
    Alone,
    /// The machine is being switched off, and all that the regions wrote lies on the disk.
    Whole,
    /// The machine is being switched off, and what the regions wrote may not lie on the disk yet.
    Unfinished,
}

/// Write down how the supervisor ends. Of a shutdown that is not finished no word is made: as long as there is none, the
/// next boot takes this one for cut short.
pub fn end(leaving: Leaving) {
    let word = match leaving {
        Leaving::Alone => last_word(&memory(), this_boot(), State::Left),
        Leaving::Whole => last_word(&memory(), this_boot(), State::Ended),
        Leaving::Unfinished => None,
    };
    let written = word.map_or(Ok(()), |word| write(&memory(), &word));
    written.unwrap_or_else(|why| tracing::warn!("the end of this boot cannot be written down: {why}"));
}

fn this_boot() -> Option<String> {
    boot_id().inspect_err(|why| tracing::warn!("the kernel does not tell which boot this is: {why}")).ok()
}

/// The word at the end of a supervisor. When nobody knows in which boot that is, nothing is to be made of an earlier word:
/// that the boot that it is about still runs would be false, and whether it was shut down is not known.
fn last_word(memory: &Path, boot: Option<String>, state: State) -> Option<Boot> {
    let known = read(memory);
    let Some(boot) = boot else { return known.map(|known| Boot { state: State::Left, ..known }) };
    let own = known.filter(|known| known.boot == boot);
    let (before, panics) = own.map(|known| (known.before, known.panics)).unwrap_or_default();
    Some(Boot { boot, state, before, panics })
}

/// Tell how the boot before this ended; `reset`: the watchdog ended it, be that in the midst of a shutdown.
fn before(memory: &Path, boot: &str, reset: bool, how: impl FnOnce(&Boot) -> Unclean) -> LastEnd {
    match read(memory) {
        Some(known) if known.boot == boot => known.before,
        Some(_) if reset => LastEnd::Unclean(Unclean::Watchdog),
        Some(known) if known.state == State::Running => LastEnd::Unclean(how(&known)),
        Some(known) if known.state == State::Ended => LastEnd::Shutdown,
        Some(_) | None => LastEnd::NotKnown,
    }
}

fn read(memory: &Path) -> Option<Boot> {
    serde_json::from_slice(&fs::read(memory.join(FILE)).ok()?).ok()
}

fn write(memory: &Path, boot: &Boot) -> io::Result<()> {
    make_dir(memory, MEMORY_MODE)?;
    replace(memory, FILE, &serde_json::to_vec(boot)?)
}

/// Tell whether a watchdog has reset the machine, and so ended the boot before this one. The kernel's drivers ask their
/// card that once, and clear it there.
fn watchdog_reset(sysfs: &Path) -> bool {
    let class = sysfs.join("class/watchdog");
    let bits = |name: &String| attributes::number::<u64>(&class.join(name).join("bootstatus"));
    attributes::names(&class).iter().filter_map(bits).any(|bits| bits & CARD_RESET != 0)
}

/// Tell how the boot before this one ended, which was no shutdown and no watchdog: by what there is and was not when it
/// was in use, never by the time of day, which the end of a boot may have taken with it.
fn how(known: &Boot, panics: &BTreeSet<String>) -> Unclean {
    let is_new = known.panics.as_ref().is_some_and(|before| !panics.is_subset(before));
    if is_new { Unclean::Panic } else { Unclean::Cut }
}

/// List what kernels that panicked have left, each by its path below the directory.
fn left_by_panics(dir: &Path) -> BTreeSet<String> {
    let (mut found, mut dirs) = (BTreeSet::new(), vec![dir.to_owned()]);
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if found.len() >= MOST_PANICS {
                return found;
            }
            found.extend(path.strip_prefix(dir).ok().map(|below| below.to_string_lossy().into_owned()));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boot_that_nobody_ended_was_unclean() {
        let dir = tempfile::tempdir().unwrap();
        let unclean = LastEnd::Unclean;
        let end = |boot: &str, reset| before(dir.path(), boot, reset, |_| Unclean::Cut);
        let at = |boot: &str| end(boot, false);
        let say = |boot: &str, state, before| {
            write(dir.path(), &Boot { boot: boot.into(), state, before, panics: None }).unwrap();
        };
        assert_eq!(at("a"), LastEnd::NotKnown);
        say("a", State::Running, LastEnd::NotKnown);
        assert_eq!((at("a"), at("b")), (LastEnd::NotKnown, unclean(Unclean::Cut)));
        // Another supervisor of the same boot tells the same.
        say("b", State::Running, unclean(Unclean::Watchdog));
        assert_eq!(at("b"), unclean(Unclean::Watchdog));
        say("b", State::Left, unclean(Unclean::Watchdog));
        let seen = (at("b"), at("c"));
        assert_eq!(seen, (unclean(Unclean::Watchdog), LastEnd::NotKnown), "nobody was there to see it end");
        say("b", State::Ended, unclean(Unclean::Watchdog));
        assert_eq!(at("c"), LastEnd::Shutdown);
        // It was being shut down when something hung, or before that nobody was there; of this boot it says nothing.
        let reset = unclean(Unclean::Watchdog);
        assert_eq!((end("c", true), end("b", true)), (reset, reset));
        say("b", State::Left, LastEnd::Shutdown);
        assert_eq!((end("c", true), end("b", true)), (reset, LastEnd::Shutdown));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(at("c"), LastEnd::NotKnown);
    }

    #[test]
    fn of_a_boot_that_the_kernel_does_not_name_nothing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let end = |boot: Option<&str>| {
            let word = last_word(dir.path(), boot.map(str::to_owned), State::Ended);
            word.iter().for_each(|word| write(dir.path(), word).unwrap());
            word
        };
        let at = |boot: &str| before(dir.path(), boot, false, |_| Unclean::Cut);
        assert_eq!(end(None), None, "nothing was written before, and nothing is");
        let first =
            Boot { boot: "a".into(), state: State::Running, before: LastEnd::Shutdown, panics: Some(BTreeSet::new()) };
        write(dir.path(), &first).unwrap();
        // A boot that is not named has come and gone: which of the two it was nobody knows.
        assert_eq!(end(None).unwrap().boot, "a");
        assert_eq!((at("a"), at("b")), (LastEnd::Shutdown, LastEnd::NotKnown));
        assert_eq!(end(Some("b")).unwrap().before, LastEnd::NotKnown);
        assert_eq!(at("c"), LastEnd::Shutdown);
    }

    /// Whatever the clock shows: a battery that is flat has it begin anew with each boot.
    #[test]
    fn a_watchdog_and_a_panic_leave_word() {
        let tree = tempfile::tempdir().unwrap();
        let left = tree.path().join("pstore");
        let boot = |panics: Option<BTreeSet<String>>| Boot {
            boot: "a".into(),
            state: State::Running,
            before: LastEnd::NotKnown,
            panics,
        };
        let of = |known: &Boot| how(known, &left_by_panics(&left));
        assert_eq!(of(&boot(Some(BTreeSet::new()))), Unclean::Cut);
        fs::create_dir_all(left.join("1796034179")).unwrap();
        assert_eq!((of(&boot(Some(BTreeSet::new()))), of(&boot(None))), (Unclean::Panic, Unclean::Cut));
        // What an earlier one had left, and this one after it, though it was the same second by its clock.
        let known = boot(Some(left_by_panics(&left)));
        assert_eq!(of(&known), Unclean::Cut);
        fs::write(left.join("1796034179/dmesg.txt"), "Oops").unwrap();
        assert_eq!(of(&known), Unclean::Panic);
        let watchdog = tree.path().join("class/watchdog/watchdog0");
        assert!(!watchdog_reset(tree.path()));
        fs::create_dir_all(&watchdog).unwrap();
        for (bits, reset) in [("0\n", false), ("32\n", true)] {
            fs::write(watchdog.join("bootstatus"), bits).unwrap();
            assert_eq!(watchdog_reset(tree.path()), reset);
        }
    }
}
