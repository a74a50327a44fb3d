//! Region's directory, read by the supervisor itself: `region.json`, every extent file's length and trailer, who owns
//! them and what they take. Reads only, and follows no link: the directory belongs to the service user.

use crate::decide::facts::Survey;
use crate::files::{open_below, read_below, room};
use crate::region::format::{Counters, TRAILER_BYTES, Trailer, extent_path};
use crate::region::reconciliation::Extent;
use crate::region::standing::Standing;
use crate::region::{Geometry, RegionJson};
use jiff::Timestamp;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

/// The most bytes of a `region.json` that are read; a real one has under 300.
const JSON_LIMIT_BYTES: u64 = 64 * 1024;
/// The looks at a fault before it is believed of a region that runs, and the pause between two.
const FAULT_LOOKS: u32 = 4;
const FAULT_POLL: Duration = Duration::from_millis(250);
/// Bytes a block of `st_blocks` (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// Read a region's `region.json`.
///
/// # Errors
/// Why there is none to be read.
pub fn region_json(dir: &Path) -> Result<RegionJson, String> {
    let text = read_below(dir, "region.json", JSON_LIMIT_BYTES).map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => "it is no region: it has no region.json".to_owned(),
        _ => format!("region.json: {why}"),
    })?;
    RegionJson::parse(&text).map_err(|why| why.to_string())
}

/// Read the trailer of every extent file, each of which must have exactly the right length. `progress` hears how many
/// were read.
///
/// # Errors
/// The first extent that is not there or not whole, and why.
pub fn trailers(dir: &Path, geometry: Geometry, progress: impl Fn(u64)) -> Result<Vec<Trailer>, String> {
    let one = |number: u32| {
        progress(number.into());
        open_below(dir, &extent_path(number))
            .and_then(|file| trailer(&file, geometry.extent_file_bytes()))
            .map_err(|why| format!("extent {number} ({}): {why}", extent_path(number)))
    };
    (0..geometry.extent_count).map(one).collect()
}

/// Read how every extent stands: its trailer, and when its file was last written. Each must have exactly the right length.
///
/// # Errors
/// The first extent that is not there or not whole, and why.
pub fn extents(dir: &Path, geometry: Geometry) -> Result<Vec<Extent>, String> {
    let one = |number: u32| {
        extent(dir, geometry, number).map_err(|why| format!("extent {number} ({}): {why}", extent_path(number)))
    };
    (0..geometry.extent_count).map(one).collect()
}

/// Read how an extent stands: its trailer, and when its file was last written.
///
/// # Errors
/// The file is not there or has another length, or what lies there is no trailer.
pub fn extent(dir: &Path, geometry: Geometry, number: u32) -> io::Result<Extent> {
    let Standing { trailer, modified, .. } = standing(dir, geometry, number)?;
    Ok(Extent { trailer, modified })
}

/// Read how the file of an extent stands, which may be in use: its trailer and what is counted there, when it was last
/// written, and what it takes.
///
/// # Errors
/// The file is not there or has another length, or what lies there is no trailer.
pub fn standing(dir: &Path, geometry: Geometry, number: u32) -> io::Result<Standing> {
    let file = open_below(dir, &extent_path(number))?;
    let (trailer, found) = (trailer_bytes(&file, geometry.extent_file_bytes())?, file.metadata()?);
    Ok(Standing {
        trailer: Trailer::parse(&trailer).map_err(io::Error::other)?,
        counters: Counters::parse(&trailer),
        modified: Timestamp::try_from(found.modified()?).map_err(io::Error::other)?,
        allocated: found.blocks() * STAT_BLOCK_BYTES,
    })
}

/// Read the trailer of an extent file that must have exactly this length.
///
/// # Errors
/// The file has not, or what lies there is no trailer.
pub fn trailer(file: &File, length: u64) -> io::Result<Trailer> {
    Trailer::parse(&trailer_bytes(file, length)?).map_err(io::Error::other)
}

fn trailer_bytes(file: &File, length: u64) -> io::Result<[u8; TRAILER_BYTES]> {
    let found = file.metadata()?.len();
    if found != length {
        return Err(io::Error::other(format!("it has {found} bytes, and {length} are right")));
    }
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, length - TRAILER_BYTES as u64)?;
    Ok(trailer)
}

/// Count the extents that were left dirty. Reads from every file: not for one that runs, whose trailers change, and
/// whose disk has better to do.
pub fn dirty(dir: &Path, geometry: Geometry) -> u32 {
    let length = geometry.extent_file_bytes();
    let read = |number: &u32| open_below(dir, &extent_path(*number)).and_then(|file| trailer(&file, length));
    let dirty = (0..geometry.extent_count).filter(|number| read(number).is_ok_and(|trailer| trailer.dirty));
    dirty.count().try_into().unwrap_or(u32::MAX)
}

/// Survey every file that a downstairs of this geometry needs, without opening it: what it takes, and the first that
/// is missing, has a wrong length, or does not belong to `owner`.
pub fn survey(dir: &Path, geometry: Geometry, owner: Option<u32>) -> Survey {
    let mut survey = Survey::default();
    if room(dir).is_ok_and(|room| room.read_only) {
        survey.fault = Some("it cannot be written to: something is mounted read-only there".into());
    }
    let names = std::iter::once("region.json".to_owned()).chain((0..geometry.extent_count).map(extent_path));
    let needed = std::iter::once((String::new(), None)).chain(names.enumerate().map(|(index, name)| {
        let length = (index > 0).then(|| geometry.extent_file_bytes());
        (name, length)
    }));
    for (name, length) in needed {
        let fault = match fs::symlink_metadata(dir.join(&name)) {
            Err(why) => Some(why.to_string()),
            Ok(found) => {
                survey.allocated += found.blocks() * STAT_BLOCK_BYTES;
                fault(&found, length, owner, name.is_empty())
            }
        };
        if survey.fault.is_none() {
            let name = if name.is_empty() { "the directory" } else { &name };
            survey.fault = fault.map(|fault| format!("{name}: {fault}"));
        }
    }
    survey
}

/// Find what would keep a downstairs of this user from starting on a region on which one runs: as [`survey`], and by
/// the files' modes. That one replaces an extent's file while it repairs it, so what is wrong is looked at again for
/// a while.
///
/// # Errors
/// The first fault, which has stayed.
pub fn startable(dir: &Path, geometry: Geometry, owner: Option<u32>) -> Result<(), String> {
    let mut fault = None;
    for _ in 0..FAULT_LOOKS {
        fault = survey(dir, geometry, owner).fault.or_else(|| locked(dir, geometry));
        if fault.is_none() {
            return Ok(());
        }
        std::thread::sleep(FAULT_POLL);
    }
    fault.map_or(Ok(()), Err)
}

/// The first file that its owner may not read and write.
fn locked(dir: &Path, geometry: Geometry) -> Option<String> {
    let names = ["", "region.json"].map(str::to_owned).into_iter().chain((0..geometry.extent_count).map(extent_path));
    names.into_iter().find_map(|name| {
        let found = fs::symlink_metadata(dir.join(&name)).ok()?;
        let needed = if found.is_dir() { 0o700 } else { 0o600 };
        let name = if name.is_empty() { "the directory" } else { &name };
        (found.mode() & needed != needed)
            .then(|| format!("{name}: its mode is {:03o}, with which its owner may not use it", found.mode() & 0o777))
    })
}

fn fault(found: &Metadata, length: Option<u64>, owner: Option<u32>, dir: bool) -> Option<String> {
    let right = if dir { found.is_dir() } else { found.is_file() };
    if !right {
        return Some(if dir { "it is none" } else { "it is not a regular file" }.into());
    }
    if let Some(length) = length.filter(|length| *length != found.len()) {
        return Some(format!("it has {} bytes, and {length} are right", found.len()));
    }
    let other = owner.filter(|owner| *owner != found.uid());
    other.map(|owner| format!("it belongs to the user with id {}, and {owner} is right", found.uid()))
}

/// Count the bytes of the disk that a directory's files take.
pub fn allocated(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => allocated(&entry.path()),
        Ok(found) => found.blocks() * STAT_BLOCK_BYTES,
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const SMALL: Geometry = Geometry { block_size: 512, extent_size: 1, extent_count: 2 };

    /// A region as `create` makes it.
    fn region() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("00/000")).unwrap();
        fs::write(dir.path().join("region.json"), "{}").unwrap();
        for number in 0..SMALL.extent_count {
            let mut extent = vec![0; usize::try_from(SMALL.extent_file_bytes()).unwrap()];
            let version = extent.len() - TRAILER_BYTES + 17;
            extent[version] = 2;
            fs::write(dir.path().join(extent_path(number)), extent).unwrap();
        }
        dir
    }

    #[test]
    fn a_whole_region_is_told_from_one_that_lacks_something() {
        let dir = region();
        let me = fs::metadata(dir.path()).unwrap().uid();
        assert_eq!(trailers(dir.path(), SMALL, |_| ()).unwrap().len(), 2);
        let found = survey(dir.path(), SMALL, Some(me));
        assert!(found.fault.is_none() && found.allocated >= 4096 && dirty(dir.path(), SMALL) == 0, "{found:?}");
        assert_eq!(startable(dir.path(), SMALL, Some(me)), Ok(()));
        let mode =
            |mode| fs::set_permissions(dir.path().join(extent_path(1)), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o400);
        assert!(startable(dir.path(), SMALL, Some(me)).unwrap_err().contains("its mode is 400"));
        // A fault that passes is none: a downstairs at work has replaced the file.
        let mended = std::thread::scope(|scope| {
            let looking = scope.spawn(|| startable(dir.path(), SMALL, Some(me)));
            mode(0o600);
            looking.join().unwrap()
        });
        assert_eq!(mended, Ok(()));
        let first = File::options().write(true).open(dir.path().join(extent_path(0))).unwrap();
        first.write_at(&[1], SMALL.extent_file_bytes() - TRAILER_BYTES as u64).unwrap();
        assert_eq!(dirty(dir.path(), SMALL), 1);
        assert!(survey(dir.path(), SMALL, Some(me + 1)).fault.unwrap().contains("belongs to"));

        let extent = dir.path().join(extent_path(1));
        File::options().write(true).open(&extent).unwrap().set_len(100).unwrap();
        for fault in [survey(dir.path(), SMALL, None).fault.unwrap(), trailers(dir.path(), SMALL, |_| ()).unwrap_err()]
        {
            assert!(fault.contains("it has 100 bytes"), "{fault}");
        }
        assert!(startable(dir.path(), SMALL, None).unwrap_err().contains("it has 100 bytes"));
        fs::remove_file(&extent).unwrap();
        assert!(survey(dir.path(), SMALL, None).fault.unwrap().contains("00/000/001"));
        symlink("000", &extent).unwrap();
        assert!(survey(dir.path(), SMALL, None).fault.unwrap().contains("not a regular file"));
        assert!(trailers(dir.path(), SMALL, |_| ()).is_err());
    }
}
