//! Data partition of a sled, looked at before somebody gives it up: whose it is, which regions are on record there, and
//! what lies there beside them. Only what is certain is an answer: a record that was begun anew, or none where something
//! lies, lists nothing. Reads only.

use crate::clean;
use crate::names::{RegionName, SledName};
use crate::store::layout::{DIR, INCOMING, TRASH};
use crate::store::{ledger, mark};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::Path;

/// The directory of what a check of the file system found no place for.
const FOUND: &str = "lost+found";
/// The most things beside the regions that are named; of more it is said how many there are.
const NAMED: usize = 12;

/// What lies on a data partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Data {
    /// The sled whose data it is, as its mark says.
    pub sled: Option<SledName>,
    /// The regions on record there; absent if they cannot be listed: they may lie there all the same.
    pub regions: Option<Vec<RegionName>>,
    /// What lies there beside them, by its path: the trash, a runbook's directories, somebody's files.
    pub beside: Vec<String>,
}

impl Data {
    /// The answer where no data partition is.
    pub fn none() -> Self {
        Self { regions: Some(Vec::new()), ..Self::default() }
    }

    /// Look at the one that is mounted at a directory.
    pub fn at(root: &Path) -> Self {
        let sled = mark::read(root).ok().flatten().map(|mark| mark.sled);
        let ledger = ledger::load(root).ok().map(|loaded| loaded.ledger).filter(|ledger| ledger.rebuilt.is_none());
        let recorded: Option<Vec<_>> = ledger.map(|ledger| ledger.regions.into_keys().collect());
        let Ok(beside) = beside(root, recorded.as_deref().unwrap_or_default()) else {
            return Self { sled, ..Self::default() };
        };
        // A file system that no sled has taken into use yet.
        let untouched = || {
            let dir = fs::symlink_metadata(root.join(DIR));
            (beside.is_empty() && dir.is_err_and(|why| why.kind() == io::ErrorKind::NotFound)).then(Vec::new)
        };
        Self { regions: recorded.or_else(untouched), sled, beside }
    }

    /// Whether regions lie there, or may.
    pub fn may_have_regions(&self) -> bool {
        self.regions.as_ref().is_none_or(|regions| !regions.is_empty()) || !self.beside.is_empty()
    }

    /// Say what lies there: `2 region(s): pve-0, pve-1`.
    pub fn said(&self) -> String {
        let regions = match self.regions.as_deref() {
            None => "regions that cannot be listed".into(),
            Some([]) => "no region".into(),
            Some(all) => format!("{} region(s): {}", all.len(), listed(all)),
        };
        if self.beside.is_empty() { regions } else { format!("{regions}; and beside them {}", self.named()) }
    }

    /// Say what is lost with it; `None` if nothing is.
    pub fn lost(&self) -> Option<String> {
        let regions = match self.regions.as_deref() {
            None => Some("WHATEVER REGIONS LIE THERE ARE LOST".into()),
            Some([]) => None,
            Some(all) => Some(format!("{} REGION(S) ARE LOST: {}", all.len(), listed(all))),
        };
        let beside = (!self.beside.is_empty()).then(|| format!("LOST AS WELL: {}", self.named()));
        let all: Vec<String> = regions.into_iter().chain(beside).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn named(&self) -> String {
        let named = self.beside.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match self.beside.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

fn listed(all: &[RegionName]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// List what lies on a disk beside these regions.
fn beside(root: &Path, known: &[RegionName]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names(root)? {
        match name.as_str() {
            DIR => {}
            FOUND | INCOMING | TRASH => {
                found.extend(names(&root.join(&name))?.into_iter().map(|within| format!("{name}/{within}")));
            }
            _ if name.parse().is_ok_and(|region: RegionName| known.contains(&region)) => {}
            _ => found.push(name),
        }
    }
    found.iter_mut().for_each(|name| *name = clean::line(name).into_owned());
    found.sort();
    Ok(found)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Geometry, Record};
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn region(name: &str) -> RegionName {
        name.parse().unwrap()
    }

    /// A disk with these files, and with a ledger and these regions on record.
    fn disk(files: &[&str], regions: Option<&[&str]>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        if let Some(regions) = regions {
            mark::put(root.path(), &"proper-raptor".parse().unwrap(), &BTreeSet::new()).unwrap();
            ledger::keep_room(root.path()).unwrap();
            let geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
            let created = jiff::Timestamp::UNIX_EPOCH;
            let record = || Record { uuid: Uuid::nil(), geometry, created, by: "a test".into() };
            let put = |ledger: &mut crate::region::Ledger| {
                ledger.regions.extend(regions.iter().map(|name| (region(name), record())));
                Ok(())
            };
            ledger::change(root.path(), put).unwrap();
        }
        for file in files {
            fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
            fs::write(root.path().join(file), "").unwrap();
        }
        root
    }

    /// Where nothing can lie nobody is asked; and what is not on record is not for that not there.
    #[test]
    fn only_what_is_certain_is_an_answer() {
        type Row<'a> = (&'a [&'a str], Option<&'a [&'a str]>, Option<&'a [&'a str]>, &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            (&[], None, Some(&[]), &[]),
            (&[], Some(&[]), Some(&[]), &[]),
            (&["a-0/region.json"], Some(&["a-0"]), Some(&["a-0"]), &[]),
            (&["a-0/region.json"], Some(&[]), Some(&[]), &["a-0"]),
            (&["vm-a-0/region.json"], Some(&[]), Some(&[]), &["vm-a-0"]),
            (&[".trash/a-0.17/region.json"], Some(&["b-0"]), Some(&["b-0"]), &[".trash/a-0.17"]),
            (&["lost+found/#12"], Some(&[]), Some(&[]), &["lost+found/#12"]),
            (&["a-0/region.json"], None, None, &["a-0"]),
            (&[".sled/ledger.json"], None, None, &[]),
            (&[".trash"], None, None, &[]),
        ];
        for (files, recorded, regions, beside) in rows {
            let data = Data::at(disk(files, *recorded).path());
            let regions = regions.map(|all| all.iter().map(|name| region(name)).collect::<Vec<_>>());
            assert_eq!(
                (&data.regions, &data.beside),
                (&regions, &beside.iter().map(|one| (*one).to_owned()).collect())
            );
            let asked = regions.is_none_or(|all| !all.is_empty()) || !beside.is_empty();
            assert_eq!((data.may_have_regions(), data.lost().is_some()), (asked, asked), "{files:?}");
        }
        assert_eq!(Data::at(Path::new("/nowhere")), Data::default(), "what cannot be read");
    }

    /// A ledger that was lost was begun anew, and is empty just for that.
    #[test]
    fn a_record_that_was_begun_anew_lists_nothing() {
        let root = disk(&[], Some(&["a-0"]));
        fs::remove_dir_all(root.path().join(DIR)).unwrap();
        ledger::begin(root.path(), &[region("a-0")].into()).unwrap();
        assert_eq!(ledger::load(root.path()).unwrap().ledger.regions.len(), 0);
        let data = Data::at(root.path());
        assert_eq!((data.regions.clone(), data.said().as_str()), (None, "regions that cannot be listed"));
        assert_eq!(data.lost().as_deref(), Some("WHATEVER REGIONS LIE THERE ARE LOST"));
        let many = Data { beside: (0..14).map(|index| format!("x{index}")).collect(), ..Data::none() };
        assert!(many.said().starts_with("no region; and beside them x0, ") && many.said().ends_with("x11 and 2 more"));
    }
}
