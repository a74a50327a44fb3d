//! Record over the reboot into another version: what was well before it, and what became of the update.

use crate::check::{Code, Severity};
use crate::files::{make_dir, replace};
use crate::names::{RegionName, VolumeName};
use crate::update::release::{Installed, order};
use crate::wire::{Sled, State, Volume};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of the record.
const DIR: &str = "/var/lib/sled-update";
const BEFORE: &str = "before.json";
const ATTEMPT: &str = "attempt.json";

/// The sled as it was well when the machine was last switched off in an orderly way, or an update was put beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The regions that served.
    pub serving: Vec<RegionName>,
    /// The volumes that a host could attach, or could but for maintenance.
    pub ready: Vec<VolumeName>,
    /// The network adapter.
    pub nic: Option<Adapter>,
    /// The digest of the configuration's files.
    pub config: String,
    /// Whether ssh answered.
    #[serde(default)]
    pub ssh: bool,
    /// Whether the gateway answered.
    #[serde(default)]
    pub gateway: bool,
}

/// The identity of a network adapter, by which it is found again whatever drives it: a kind of USB device,
/// `vendor:product` in hexadecimal, as it may be plugged in elsewhere; or the place in sysfs of a built-in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// An adapter on USB.
    Usb(String),
    /// An adapter that is built in.
    At(PathBuf),
}

/// An update that was put beside the running version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The version that ran.
    pub from: String,
    /// The version that was put beside it.
    pub to: String,
    /// The time at which it was put there.
    pub at: Timestamp,
    /// The boot in which it was: in that one nothing has been tried yet.
    pub boot: String,
    /// Whether its downstairs program runs on every region already, and nothing else of it is another.
    #[serde(default)]
    pub rolled: bool,
    /// The digest that its kernel's file has by the release (SHA-256, in hexadecimal); absent where nobody said it: the
    /// version before was put in front again, or an older one took it.
    #[serde(default)]
    pub kernel: Option<String>,
    /// The outcome; absent as long as it was not booted, or is being judged.
    pub outcome: Option<Outcome>,
}

/// The outcome of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Outcome {
    /// The new version runs, and stays.
    Good {
        /// The reasons that speak for it.
        why: String,
        /// The time since when.
        at: Timestamp,
    },
    /// The last try of it was in vain; there may be others.
    Failed {
        /// The reasons that spoke against it.
        why: String,
        /// The time of the try.
        at: Timestamp,
    },
    /// The update was cut short while it was put there, by a power cut as a rule: nothing of it can be started.
    CutShort {
        /// The time at which that was found.
        at: Timestamp,
    },
    /// The version before it runs again.
    RolledBack {
        /// The reasons that spoke against it.
        why: String,
        /// The time since when.
        at: Timestamp,
    },
}

impl Before {
    /// Describe a sled as its supervisor does; who is reached beside its hosts is to be added.
    pub fn of(sled: &Sled, config: String) -> Self {
        let ready = sled.volumes.iter().filter(|volume| is_ready(volume)).map(|volume| volume.volume.clone());
        let regions = sled.volumes.iter().flat_map(|volume| &volume.regions);
        let serving = regions.filter(|region| region.state == Some(State::Serving)).map(|region| region.name.clone());
        let (serving, ready, nic) = (serving.collect(), ready.collect(), adapter(&sled.network.nic));
        Self { serving, ready, nic, config, ..Self::default() }
    }

    /// Read what is remembered; `None` if nothing is, or it cannot be read.
    pub fn load() -> Option<Self> {
        load(BEFORE)
    }

    /// Remember it, durably. An adapter that is pulled now is still this machine's.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let nic = self.nic.clone().or_else(|| Self::load()?.nic);
        save(BEFORE, &Self { nic, ..self.clone() })
    }
}

impl Attempt {
    /// Read the last attempt; `None` if there was none, or it cannot be read.
    pub fn load() -> Option<Self> {
        load(ATTEMPT)
    }

    /// Remember the attempt, durably.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn save(&self) -> io::Result<()> {
        save(ATTEMPT, self)
    }

    /// Remember the attempt before, as nothing has come of this one.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn take_back(before: Option<&Self>) -> io::Result<()> {
        match before {
            Some(before) => before.save(),
            None => fs::remove_file(Path::new(DIR).join(ATTEMPT)),
        }
    }

    /// Whether it is to be asked if the version can be started: it is not known whether it was.
    pub fn is_open(&self, running: &str, boot: &str) -> bool {
        self.outcome.is_none() && running == self.from && boot != self.boot
    }

    /// Whether all was done for the version to be started: the boot loader has it; and where it is the one before, the
    /// version that ran comes behind it, which is the last step of the way back.
    pub fn is_beside(&self, installed: &[Installed]) -> bool {
        let of = |version: &str| installed.iter().find(|one| one.version == version);
        let back = order(&self.to) < order(&self.from);
        of(&self.to).is_some() && (!back || of(&self.from).is_some_and(|from| from.tries_left == Some(0)))
    }

    /// The version that was put beside `running`, if it is still there and was neither started nor
    /// rolled yet.
    pub fn waiting(self, running: &str, installed: &[Installed]) -> Option<String> {
        let there = installed.iter().any(|one| one.version == self.to && one.tries_left != Some(0));
        (self.outcome.is_none() && !self.rolled && self.from == running && there).then_some(self.to)
    }

    /// The attempt as it is to be remembered when a boot of `running` has been judged in the boot `boot`; `None` if
    /// that is no news. Whether the boot loader can start the version, or could, is `beside`: it is there when all
    /// else of the version is.
    pub fn judged(
        &self,
        running: &str,
        boot: &str,
        beside: bool,
        judged: Result<String, String>,
        at: Timestamp,
    ) -> Option<Self> {
        let outcome = match (running == self.to, judged, &self.outcome) {
            (
                true,
                Ok(why),
                None | Some(Outcome::Failed { .. } | Outcome::RolledBack { .. } | Outcome::CutShort { .. }),
            ) => Outcome::Good { why, at },
            (
                true,
                Err(why),
                None | Some(Outcome::Failed { .. } | Outcome::RolledBack { .. } | Outcome::CutShort { .. }),
            ) => Outcome::Failed { why, at },
            (false, _, None) if self.is_open(running, boot) && !beside => Outcome::CutShort { at },
            // Not before it was booted.
            (false, _, None) if self.is_open(running, boot) => {
                Outcome::RolledBack { why: "it did not get far enough to say why".into(), at }
            }
            (false, _, Some(Outcome::Failed { why, .. })) if running == self.from => {
                Outcome::RolledBack { why: why.clone(), at }
            }
            _ => return None,
        };
        Some(Self { outcome: Some(outcome), ..self.clone() })
    }
}

/// Whether a host may attach a volume, or might if hosts were not asked to wait: a sled asks that of them while it
/// updates, and whether the version is well does not show in that.
pub(super) fn is_ready(volume: &Volume) -> bool {
    let mut blocking = volume.checks.iter().filter(|check| check.severity == Severity::Blocking).peekable();
    volume.ready || (blocking.peek().is_some() && blocking.all(|check| check.code == Code::Maintenance))
}

pub(super) fn load<T: DeserializeOwned>(file: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(Path::new(DIR).join(file)).ok()?).ok()
}

pub(super) fn save<T: Serialize>(file: &str, value: &T) -> io::Result<()> {
    make_dir(Path::new(DIR), 0o755)?;
    replace(Path::new(DIR), file, &serde_json::to_vec_pretty(value)?)
}

/// The kernel's name of this boot.
///
/// # Errors
/// procfs is not there.
pub fn boot_id() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    if boot.is_empty() { Err(io::Error::other("random/boot_id says nothing")) } else { Ok(boot) }
}

/// Identify a network interface, if it is there.
fn adapter(interface: &str) -> Option<Adapter> {
    let device = fs::canonicalize(Path::new("/sys/class/net").join(interface).join("device")).ok()?;
    Some(device.parent().and_then(kind).map_or(Adapter::At(device), Adapter::Usb))
}

fn kind(device: &Path) -> Option<String> {
    let read = |file: &str| Some(fs::read_to_string(device.join(file)).ok()?.trim().to_owned());
    Some(format!("{}:{}", read("idVendor")?, read("idProduct")?))
}

impl Adapter {
    /// Whether it is plugged in, whatever drives it.
    pub fn is_plugged_in(&self) -> bool {
        let devices = || fs::read_dir("/sys/bus/usb/devices").into_iter().flatten().flatten();
        match self {
            Self::Usb(wanted) => devices().any(|device| kind(&device.path()).as_ref() == Some(wanted)),
            Self::At(device) => device.exists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: Option<Outcome>) -> Attempt {
        let (from, to, boot) = ("1".into(), "2".into(), "b1".into());
        Attempt { from, to, at: Timestamp::UNIX_EPOCH, boot, rolled: false, kernel: None, outcome }
    }

    #[test]
    fn one_that_is_beside_and_was_not_started_waits() {
        let beside = |tries_left| [Installed { version: "2".into(), tries_left }];
        let waits = |outcome, running: &str, installed: &[Installed]| attempt(outcome).waiting(running, installed);
        assert_eq!(waits(None, "1", &beside(Some(3))), Some("2".into()));
        assert_eq!(waits(None, "1", &beside(Some(0))), None, "it was given up");
        assert_eq!(waits(None, "1", &[]), None, "somebody has removed it");
        assert_eq!(waits(None, "2", &beside(None)), None, "it runs");
        assert_eq!(Attempt { rolled: true, ..attempt(None) }.waiting("1", &beside(Some(3))), None, "it is rolled");
        let back = Outcome::RolledBack { why: String::new(), at: Timestamp::UNIX_EPOCH };
        assert_eq!(waits(Some(back), "1", &beside(Some(1))), None, "it was tried");
    }

    #[test]
    fn the_way_back_is_whole_when_the_version_that_ran_comes_behind() {
        let one = |version: &str, tries_left| Installed { version: version.into(), tries_left };
        let forth = attempt(None);
        assert!(forth.is_beside(&[one("1", None), one("2", Some(3))]) && !forth.is_beside(&[one("1", None)]));
        let back = Attempt { from: "2".into(), to: "1".into(), ..attempt(None) };
        for (before, ran, whole) in [(None, None, false), (Some(3), None, false), (Some(3), Some(0), true)] {
            assert_eq!(back.is_beside(&[one("1", before), one("2", ran)]), whole);
        }
        assert!(!back.is_beside(&[one("2", Some(0))]));
    }

    #[test]
    fn an_update_is_good_failed_or_taken_back() {
        let at = Timestamp::UNIX_EPOCH;
        let judge = |attempt: &Attempt, running: &str, boot: &str, judged: Result<&str, &str>| {
            let judged = judged.map(Into::into).map_err(Into::into);
            attempt.judged(running, boot, true, judged, at).map(|attempt| attempt.outcome.unwrap())
        };
        let fresh = attempt(None);
        assert_eq!(judge(&fresh, "1", "b1", Ok("x")), None, "it was not booted yet");
        assert_eq!(judge(&fresh, "2", "b2", Ok("x")), Some(Outcome::Good { why: "x".into(), at }));
        assert_eq!(judge(&fresh, "2", "b2", Err("y")), Some(Outcome::Failed { why: "y".into(), at }));
        let silent = Outcome::RolledBack { why: "it did not get far enough to say why".into(), at };
        assert_eq!(judge(&fresh, "1", "b3", Ok("x")), Some(silent));
        // The power was cut while it was taken: what ran before knows of it and has nothing to go back from.
        let cut = fresh.judged("1", "b3", false, Ok("x".into()), at).unwrap();
        assert_eq!(cut.outcome, Some(Outcome::CutShort { at }));
        assert_eq!((fresh.is_open("1", "b3"), fresh.is_open("1", "b1"), cut.is_open("1", "b3")), (true, false, false));
        assert_eq!(cut.judged("1", "b4", false, Ok("x".into()), at), None);
        assert_eq!(
            judge(&cut, "2", "b4", Ok("x")),
            Some(Outcome::Good { why: "x".into(), at }),
            "it was whole after all"
        );
        let failed = attempt(Some(Outcome::Failed { why: "y".into(), at }));
        assert_eq!(judge(&failed, "1", "b5", Ok("x")), Some(Outcome::RolledBack { why: "y".into(), at }));
        assert_eq!(judge(&failed, "2", "b3", Ok("x")), Some(Outcome::Good { why: "x".into(), at }));
        let good = attempt(Some(Outcome::Good { why: "x".into(), at }));
        assert_eq!(judge(&good, "2", "b9", Err("later")), None, "it has been good");
        assert_eq!(judge(&good, "1", "b9", Ok("x")), None, "somebody went back by hand");
        assert_eq!(judge(&good, "3", "b9", Ok("x")), None);
    }
}
