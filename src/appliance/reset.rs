//! Reset of a sled: what it remembers is forgotten, or that, its regions and what brought its configuration. What goes and
//! what stays is decided here, and word is left in `/var`: the next boot's initrd does it (`check-var`), before anything
//! is read from there, and does it again if it was cut off. Where it fails the word is taken back, and how far it went is
//! told.

use super::OWN;
use super::data::Data;
use crate::clean;
use crate::files::replace;
use crate::times;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::Path;

/// The file with the word, in [`OWN`].
const FILE: &str = "forget";
/// The second copy of the word, on a partition CONFIG: it outlives what the sled remembers.
const COPY: &str = "reset.txt";
/// The file with what became of a reset that has failed, in [`OWN`]; whoever has read it removes it.
const LEFT: &str = "not-forgotten";

/// The extent of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// What the sled remembers.
    Memory,
    /// That, its regions, and what brought its configuration.
    Factory,
}

impl Extent {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Factory => "factory",
        }
    }
}

/// The sled, as far as a reset concerns it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// What lies on its data partition, whatever the port map says.
    pub data: Data,
    /// The hosts that are connected to one, each with the volume; absent if that cannot be told.
    pub attached: Option<Vec<String>>,
    /// The files that CONFIG has; absent if it cannot be read.
    pub brought: Option<Vec<String>>,
}

/// The things that go with a reset, and those that stay; a few words each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Those that go.
    pub gone: Vec<String>,
    /// Those that stay.
    pub kept: Vec<String>,
    /// The regions that are lost; absent if those that lie there cannot be listed.
    pub regions_lost: Option<Vec<String>>,
    /// What else lies beside the regions and is lost: the trash, somebody's files.
    pub also_lost: Vec<String>,
    /// What is lost, in a sentence.
    #[serde(skip)]
    pub lost: Option<String>,
    /// What the sled is after it.
    pub afterwards: String,
}

/// Find why a sled is not reset.
pub fn refused(extent: Extent, subject: &Subject) -> Option<String> {
    match (extent, &subject.attached) {
        (Extent::Memory, _) => None,
        (Extent::Factory, None) => Some("whether hosts are attached to its regions cannot be told".into()),
        (Extent::Factory, Some(attached)) if !attached.is_empty() => {
            Some(format!("hosts are attached to its regions: {}", attached.join(", ")))
        }
        (Extent::Factory, Some(_)) => None,
    }
}

/// Tell what goes with a reset and what stays.
pub fn effect(extent: Extent, subject: &Subject) -> Effect {
    let data = &subject.data;
    let whose = data.sled.as_ref().map(|sled| format!(" of the sled {sled}")).unwrap_or_default();
    let regions = format!("the data partition{whose}, with {}", data.said());
    let brought = match subject.brought.as_deref() {
        None => "what lies on the partition CONFIG".into(),
        Some([]) => "the partition CONFIG, with no configuration on it".into(),
        Some(files) => format!("what lies on the partition CONFIG: {}", files.join(", ")),
    };
    let memory = "what it remembers: its configuration and keys as they are in force, its journal and events, what it \
                  knows of hosts"
        .to_owned();
    let system = "the versions of the system in both slots".to_owned();
    match extent {
        Extent::Memory => Effect {
            gone: vec![memory],
            kept: vec![regions, brought, system],
            regions_lost: Some(Vec::new()),
            also_lost: Vec::new(),
            lost: None,
            afterwards: afterwards(subject.brought.as_deref()).into(),
        },
        Extent::Factory => Effect {
            gone: vec![memory, regions, brought],
            kept: vec![system],
            regions_lost: data.regions.as_ref().map(|all| all.iter().map(ToString::to_string).collect()),
            also_lost: data.beside.clone(),
            lost: data.lost(),
            afterwards: "no sled yet: nobody reaches it over the network, and its screen asks for a configuration"
                .into(),
        },
    }
}

/// What a sled is whose memory is made anew.
fn afterwards(brought: Option<&[String]>) -> &'static str {
    match brought {
        None => "the sled that CONFIG makes it, if that can be read; otherwise none yet, and its screen asks",
        Some(files) if ["sled.toml", "port-map.toml"].iter().all(|file| files.iter().any(|one| one == file)) => {
            "the sled that CONFIG makes it: the regions are its own again if it has the name that it has now"
        }
        Some(_) => {
            "no sled yet, as CONFIG brings no configuration: nobody reaches it over the network, its screen asks for one, \
             and the regions wait for a sled of the name that it has now"
        }
    }
}

/// Leave word for the next boot.
///
/// # Errors
/// The file cannot be written.
pub fn leave_word(extent: Extent) -> io::Result<()> {
    replace(Path::new(OWN), FILE, format!("{}\n", extent.word()).as_bytes())
}

/// Leave a second copy of the word on a partition CONFIG, with the time, by which nothing is done: where what the sled
/// remembers cannot be mended at the next boot, it is told that a reset was asked for. A boot that finds no word removes it.
///
/// # Errors
/// The file cannot be written.
pub fn leave_copy(extent: Extent, config: &Path) -> io::Result<()> {
    let file = config.join(COPY);
    fs::write(&file, format!("{} {:.0}\n", extent.word(), times::now()))?;
    fs::File::open(&file)?.sync_all()
}

/// Take the copy back, if it is there.
///
/// # Errors
/// The file cannot be removed.
pub fn take_copy_back(config: &Path) -> io::Result<()> {
    match fs::remove_file(config.join(COPY)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Take the word back.
///
/// # Errors
/// The file cannot be removed.
pub fn take_word_back() -> io::Result<()> {
    fs::remove_file(Path::new(OWN).join(FILE))
}

/// Tell a reset that is asked for and not done yet, or was not done whole.
pub fn unfinished() -> Option<String> {
    unfinished_in(Path::new(OWN))
}

fn unfinished_in(own: &Path) -> Option<String> {
    let read = |file: &str| {
        let text = fs::read_to_string(own.join(file)).ok()?;
        Some(clean::line(text.trim()).into_owned())
    };
    let waits = read(FILE).map(|what| format!("a reset ({what}) was asked for, and comes with the next boot"));
    waits.or_else(|| read(LEFT).map(|what| format!("a reset was asked for, and was not done whole: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn regions_are_lost_only_with_everything_and_never_below_a_host() {
        let of = |attached: Option<&[&str]>| Subject {
            data: Data {
                sled: Some("proper-raptor".parse().unwrap()),
                regions: Some(vec!["pve-0".parse().unwrap(), "pve-1".parse().unwrap()]),
                beside: owned(&[".trash/a-0.17"]),
            },
            attached: attached.map(owned),
            brought: Some(owned(&["sled.toml", "port-map.toml"])),
        };
        for attached in [None, Some(&[][..]), Some(&["192.168.4.17 (pve)"])] {
            assert_eq!(refused(Extent::Memory, &of(attached)), None);
            assert_eq!(effect(Extent::Memory, &of(attached)).regions_lost, Some(Vec::new()));
        }
        assert!(refused(Extent::Factory, &of(None)).is_some_and(|why| why.contains("cannot be told")));
        assert!(
            refused(Extent::Factory, &of(Some(&["192.168.4.17 (pve)"]))).is_some_and(|why| why.contains("17 (pve)"))
        );
        assert_eq!(refused(Extent::Factory, &of(Some(&[]))), None);
        let all = effect(Extent::Factory, &of(Some(&[])));
        assert_eq!((all.regions_lost, all.also_lost), (Some(owned(&["pve-0", "pve-1"])), owned(&[".trash/a-0.17"])));
        let said = "the data partition of the sled proper-raptor, with 2 region(s): pve-0, pve-1; and beside them .trash/a-0.17";
        assert_eq!(all.gone.get(1).map(String::as_str), Some(said));
        assert_eq!(all.lost.as_deref(), Some("2 REGION(S) ARE LOST: pve-0, pve-1; LOST AS WELL: .trash/a-0.17"));
        // What cannot be listed is not for that nothing.
        let unknown = effect(Extent::Factory, &Subject { data: Data::default(), ..of(Some(&[])) });
        assert_eq!(
            (unknown.regions_lost, unknown.lost.as_deref()),
            (None, Some("WHATEVER REGIONS LIE THERE ARE LOST"))
        );
        assert_eq!(all.kept, ["the versions of the system in both slots"]);
    }

    #[test]
    fn a_reset_that_waits_or_has_failed_is_told() {
        let own = tempfile::tempdir().unwrap();
        assert_eq!(unfinished_in(own.path()), None);
        fs::write(own.path().join(LEFT), "factory: the regions are as they were, at 2026-11-30T22:00:00Z\n").unwrap();
        assert!(
            unfinished_in(own.path()).is_some_and(|told| told.contains("not done whole: factory: the regions are"))
        );
        fs::write(own.path().join(FILE), "memory\n").unwrap();
        assert!(
            unfinished_in(own.path()).is_some_and(|told| told.starts_with("a reset (memory) was asked for, and comes"))
        );
    }

    /// The initrd compares the copy's word with the two, tells its time, and nobody reads it beside the one in `/var`.
    #[test]
    fn a_copy_of_the_word_is_left_and_taken_back() {
        let config = tempfile::tempdir().unwrap();
        for extent in [Extent::Memory, Extent::Factory] {
            leave_copy(extent, config.path()).unwrap();
            let text = fs::read_to_string(config.path().join("reset.txt")).unwrap();
            let (word, at) = text.trim().split_once(' ').unwrap();
            assert_eq!((word, at.len()), (extent.word(), "2026-12-01T04:00:00Z".len()), "{text}");
            at.parse::<jiff::Timestamp>().unwrap();
        }
        assert_eq!(unfinished_in(config.path()), None);
        take_copy_back(config.path()).unwrap();
        take_copy_back(config.path()).unwrap();
        assert!(!config.path().join("reset.txt").exists());
    }

    #[test]
    fn a_sled_that_would_not_be_reached_any_more_is_told_before() {
        let after = |brought: Option<&[&str]>| {
            effect(Extent::Memory, &Subject { brought: brought.map(owned), ..Subject::default() }).afterwards
        };
        assert!(after(Some(&["port-map.toml", "sled.toml"])).starts_with("the sled that CONFIG makes it: the regions"));
        assert!(after(Some(&["sled.toml"])).starts_with("no sled yet, as CONFIG brings no configuration"));
        assert!(after(None).contains("if that can be read"));
        let files = effect(Extent::Memory, &Subject { brought: Some(owned(&["sled.toml"])), ..Subject::default() });
        assert!(files.kept.contains(&"what lies on the partition CONFIG: sled.toml".to_owned()));
    }
}
