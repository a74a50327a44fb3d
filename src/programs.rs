//! Programs of the downstairs: which one each region runs, that of `sled.toml` or one that was staged by an upgrade.
//! Only the record of it; the files are `act::programs`'s. Pure.

use crate::names::RegionName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The record: `programs.json` in the machine's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// The program of the regions that have no other: a staged one by its digest; absent: the one of `sled.toml`.
    pub current: Option<String>,
    /// The roll that is under way: it goes on after a crash.
    pub rolling: Option<Roll>,
    /// Every staged program, by its digest.
    pub staged: BTreeMap<String, Staged>,
}

/// A roll of another program over all regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// The program that they are to run, as [`Programs::current`].
    pub to: Option<String>,
    /// The regions that run it already.
    pub done: Vec<RegionName>,
    /// Whether regions are restarted although a sibling does not serve.
    pub force: bool,
    /// The time at which it began: an older hold is none of its doing.
    pub since: Timestamp,
    /// Whether it is being taken back: every region gets what it ran before.
    pub back: bool,
}

/// A program that was staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staged {
    /// The path of its file.
    pub path: PathBuf,
    /// The program's word on its version.
    pub program: Program,
    /// The time at which it was staged.
    pub staged: Timestamp,
    /// The path that it came from.
    pub from: PathBuf,
}

/// The word of a program on itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The version, and the commit it was built from.
    pub version: String,
    /// The version of the messages between upstairs and downstairs that it understands.
    pub messages: u32,
}

impl Programs {
    /// The program that a region's next downstairs is; `configured` is the one of `sled.toml`.
    pub fn of<'a>(&'a self, region: &RegionName, configured: &'a Path) -> &'a Path {
        let rolled = self.rolling.as_ref().filter(|roll| roll.done.contains(region));
        self.path(rolled.map_or(&self.current, |roll| &roll.to).as_ref(), configured)
    }

    /// The path of a program.
    pub fn path<'a>(&'a self, digest: Option<&String>, configured: &'a Path) -> &'a Path {
        digest.and_then(|digest| self.staged.get(digest)).map_or(configured, |staged| &staged.path)
    }

    /// End a roll: all regions run what they were to run.
    pub fn arrive(&mut self) {
        if let Some(roll) = self.rolling.take() {
            self.current = roll.to;
        }
    }

    /// Forget the staged programs that nothing will run any more.
    pub fn forget_unused(&mut self) {
        let rolling = self.rolling.as_ref().and_then(|roll| roll.to.clone());
        let used = [self.current.clone(), rolling];
        self.staged.retain(|digest, _| used.iter().flatten().any(|used| used == digest));
    }
}

impl Program {
    /// Read what a program prints when it is asked for its version.
    ///
    /// # Errors
    /// The part that it does not say.
    pub fn parse(text: &str) -> Result<Self, String> {
        let after =
            |words: &str| text.lines().find_map(|line| line.trim().rsplit_once(words)).map(|(_, rest)| rest.trim());
        let version = after("Crucible Version:").filter(|version| !version.is_empty());
        let version = version.ok_or("it does not state its version")?;
        let messages = after("Message Version:").and_then(|number| number.parse().ok());
        let messages = messages.ok_or("it does not state the version of its messages")?;
        let hexadecimal = |text: &&str| text.len() >= 8 && text.chars().all(|c| c.is_ascii_hexdigit());
        let version = match after("Commit SHA:").filter(hexadecimal) {
            Some(commit) => format!("{version} ({})", &commit[..8]),
            None => version.to_owned(),
        };
        Ok(Self { version, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the real program, as it prints them.
    #[test]
    fn a_program_states_its_version() {
        let text = "Crucible Version: Crucible Version: 0.0.1\nCommit SHA: 6d037cb60304413302e3f3658e4850980cee77b0\n\
                    rustc: 1.95.0\nUpstairs <-> Downstairs Message Version: 13\n";
        let program = Program::parse(text).unwrap();
        assert_eq!((program.version.as_str(), program.messages), ("0.0.1 (6d037cb6)", 13));
        assert!(Program::parse("hello").unwrap_err().contains("its version"));
        assert!(Program::parse("Crucible Version: 1\n").unwrap_err().contains("messages"));
    }

    #[test]
    fn a_roll_moves_one_region_after_the_other_and_can_be_taken_back() {
        let (first, second): (RegionName, RegionName) = ("a-0".parse().unwrap(), "a-1".parse().unwrap());
        let configured = Path::new("/shipped");
        let program = Program { version: "2".into(), messages: 13 };
        let staged = Staged { path: "/staged".into(), program, staged: Timestamp::UNIX_EPOCH, from: "/tmp/x".into() };
        let mut programs = Programs::default();
        programs.staged.insert("d".into(), staged);
        assert_eq!(programs.of(&first, configured), configured);
        programs.rolling = Some(Roll {
            to: Some("d".into()),
            done: vec![first.clone()],
            force: false,
            since: Timestamp::UNIX_EPOCH,
            back: false,
        });
        assert_eq!(programs.of(&first, configured), Path::new("/staged"));
        assert_eq!(programs.of(&second, configured), configured);
        programs.forget_unused();
        assert_eq!(programs.staged.len(), 1);
        let mut back = programs.clone();
        back.rolling = None;
        assert_eq!(back.of(&first, configured), configured);
        back.forget_unused();
        assert!(back.staged.is_empty());
        programs.arrive();
        assert_eq!(programs.of(&second, configured), Path::new("/staged"));
    }
}
